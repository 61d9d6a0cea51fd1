//! Service account tokens: bound ones, and the long-lived ones of token Secrets.
//!
//! # Guarantees
//! A signature is verified over the whole token and remembered by the digest of the whole token. What a token is bound to
//! must exist with the same uid.

mod claims;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use apimachinery::Object;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use pki::jwt::VerificationKey;
use sha2::{Digest, Sha256};

use super::bootstrap_token::same;
use super::lookup::Lookup;
use super::{AuthnError, TokenOwner};
use crate::config::AccessArgs;
use crate::reloaded::Reloaded;
use crate::user::User;
use claims::LegacyClaims;
pub use claims::{Bound, Claims, KubernetesClaims};

/// The issuer of tokens in Secrets.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// How long an accepted token is believed without looking again, as upstream.
const BELIEVED: Duration = Duration::from_secs(10);
/// A deleted pod may use its token this long, to end in order.
const POD_LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// Clocks of API servers may differ this much.
const CLOCK_LEEWAY: i64 = 10;
/// How many accepted tokens are remembered.
const REMEMBERED: usize = 16_384;

/// Verifies service account tokens.
pub struct ServiceAccountTokens {
    issuers: Vec<String>,
    audiences: Vec<String>,
    keys: Reloaded<Vec<VerificationKey>>,
    accepted: Mutex<HashMap<[u8; 32], Accepted>>,
}

#[derive(Clone)]
struct Accepted {
    user: Arc<User>,
    audiences: Arc<[String]>,
    expires: i64,
    believed_until: Instant,
}

impl ServiceAccountTokens {
    /// Reads the keys the flags name.
    pub fn load(args: &AccessArgs) -> Result<Self, AuthnError> {
        let keys = Reloaded::new(args.service_account_key_file.clone(), read_keys)?;
        Ok(Self::with_keys(args.service_account_issuer.clone(), args.api_audiences.clone(), keys))
    }

    /// Accepts tokens of these issuers, for these audiences (the first issuer if empty), signed by these keys.
    pub fn new(issuers: Vec<String>, audiences: Vec<String>, keys: Vec<VerificationKey>) -> Self {
        Self::with_keys(issuers, audiences, Reloaded::fixed(keys))
    }

    fn with_keys(issuers: Vec<String>, audiences: Vec<String>, keys: Reloaded<Vec<VerificationKey>>) -> Self {
        let audiences = if audiences.is_empty() { issuers.first().cloned().into_iter().collect() } else { audiences };
        Self { issuers, audiences, keys, accepted: Mutex::default() }
    }

    /// What tokens for this server must be made for.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// The keys, to be published.
    pub fn keys(&self) -> Arc<Vec<VerificationKey>> {
        self.keys.get()
    }

    /// The owner of a token that is good now for one of the audiences.
    pub async fn authenticate(&self, token: &str, audiences: &[String], lookup: &dyn Lookup) -> Option<TokenOwner> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let now = Timestamp::now();
        let remembered = self.lock().get(&digest).cloned();
        let accepted = if let Some(accepted) = remembered.filter(|accepted| accepted.good_at(now)) {
            accepted
        } else {
            let accepted = self.check(token, now, lookup).await?;
            self.remember(digest, accepted.clone(), now);
            accepted
        };
        let shared: Vec<String> =
            audiences.iter().filter(|audience| accepted.audiences.contains(audience)).cloned().collect();
        (!shared.is_empty()).then(|| TokenOwner { user: (*accepted.user).clone(), audiences: shared })
    }

    fn remember(&self, digest: [u8; 32], accepted: Accepted, now: Timestamp) {
        let mut all = self.lock();
        if all.len() >= REMEMBERED {
            all.retain(|_, accepted| accepted.good_at(now));
        }
        if all.len() < REMEMBERED {
            all.insert(digest, accepted);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Accepted>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn check(&self, token: &str, now: Timestamp, lookup: &dyn Lookup) -> Option<Accepted> {
        let bytes = pki::jwt::verify(token, &self.keys.get()).ok()?;
        let claims: Claims = serde_json::from_slice(&bytes).ok()?;
        let (user, audiences) = if claims.iss == LEGACY_ISSUER {
            let legacy: LegacyClaims = serde_json::from_slice(&bytes).ok()?;
            (legacy_user(&legacy, token, lookup).await?, self.audiences.clone())
        } else {
            if !self.issuers.contains(&claims.iss) || !claims.valid_at(now.as_second(), CLOCK_LEEWAY) {
                return None;
            }
            (bound_user(&claims, now, lookup).await?, claims.aud.clone())
        };
        Some(Accepted {
            user: Arc::new(user),
            audiences: audiences.into(),
            expires: if claims.iss == LEGACY_ISSUER { i64::MAX } else { claims.exp },
            believed_until: Instant::now() + BELIEVED,
        })
    }
}

fn read_keys(files: &[PathBuf]) -> Result<Vec<VerificationKey>, AuthnError> {
    let mut keys = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path).map_err(|source| AuthnError::Read { path: path.clone(), source })?;
        let read = VerificationKey::all_from_pem(&text);
        keys.extend(read.map_err(|source| AuthnError::Pki { path: path.clone(), source })?);
    }
    Ok(keys)
}

impl Accepted {
    fn good_at(&self, now: Timestamp) -> bool {
        now.as_second() < self.expires && Instant::now() < self.believed_until
    }
}

async fn bound_user(claims: &Claims, now: Timestamp, lookup: &dyn Lookup) -> Option<User> {
    let facts = claims.kubernetes.as_ref()?;
    let namespace = facts.namespace.as_str();
    let account = &facts.serviceaccount;
    if claims.sub != user_name(namespace, &account.name) || !exists(lookup, "serviceaccounts", namespace, account).await
    {
        return None;
    }
    let mut user = service_account_user(namespace, &account.name, &account.uid);
    let mut extra = |key: &str, value: &str| {
        if !value.is_empty() {
            user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        }
    };
    if let Some(secret) = &facts.secret {
        exists(lookup, "secrets", namespace, secret).await.then_some(())?;
    }
    if let Some(pod) = &facts.pod {
        let object = found(lookup, "pods", namespace, pod).await?;
        let gone = object.deletion_timestamp().and_then(|text| text.parse::<Timestamp>().ok());
        if gone.is_some_and(|at| now > at + POD_LEEWAY) {
            return None;
        }
        extra("pod-name", &pod.name);
        extra("pod-uid", &pod.uid);
    }
    if let Some(node) = &facts.node {
        // With a pod the node only says where that was; alone it is what the token is bound to.
        if facts.pod.is_none() {
            exists(lookup, "nodes", "", node).await.then_some(())?;
        }
        extra("node-name", &node.name);
        extra("node-uid", &node.uid);
    }
    if !claims.jti.is_empty() {
        extra("credential-id", &format!("JTI={}", claims.jti));
    }
    Some(user)
}

async fn legacy_user(claims: &LegacyClaims, token: &str, lookup: &dyn Lookup) -> Option<User> {
    let namespace = claims.namespace.as_str();
    if claims.sub != user_name(namespace, &claims.account) {
        return None;
    }
    let account = Bound { name: claims.account.clone(), uid: claims.account_uid.clone() };
    if !exists(lookup, "serviceaccounts", namespace, &account).await {
        return None;
    }
    let secret = lookup.object("secrets", namespace, &claims.secret).await?;
    let kept = STANDARD.decode(secret.str_at(&["data", "token"])).ok()?;
    if secret.deletion_timestamp().is_some() || !same(&kept, token.as_bytes()) {
        return None;
    }
    Some(service_account_user(namespace, &claims.account, &claims.account_uid))
}

async fn exists(lookup: &dyn Lookup, resource: &str, namespace: &str, bound: &Bound) -> bool {
    found(lookup, resource, namespace, bound).await.is_some_and(|object| object.deletion_timestamp().is_none())
}

async fn found(lookup: &dyn Lookup, resource: &str, namespace: &str, bound: &Bound) -> Option<Object> {
    if bound.name.is_empty() || bound.uid.is_empty() {
        return None;
    }
    lookup.object(resource, namespace, &bound.name).await.filter(|object| object.uid() == bound.uid)
}

/// The user name of a service account.
pub fn user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// The user a service account is.
pub fn service_account_user(namespace: &str, name: &str, uid: &str) -> User {
    let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    User { uid: uid.to_owned(), ..User::new(user_name(namespace, name), groups) }
}

#[cfg(test)]
mod tests;
