//! Makes service account tokens.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use pki::PkiError;
use pki::jwt::TokenSigner;
use uuid::Uuid;

use crate::authn::AuthnError;
use crate::authn::service_account::{Claims, KubernetesClaims};
use crate::config::AccessArgs;
use crate::reloaded::Reloaded;

/// What kubelet asks for on behalf of pods; such tokens are made to last, because old clients read them only once.
const POD_SECONDS: i64 = 3607;
/// How long those last.
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

/// Signs claims in the name of this cluster.
pub struct Issuer {
    signer: Reloaded<TokenSigner>,
    name: String,
    audiences: Vec<String>,
    longest: Option<i64>,
    extend: bool,
}

/// How long a token is wanted for, and whether it is bound to a pod.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// The seconds asked for.
    pub seconds: i64,
    /// Bound to a pod.
    pub pod: bool,
}

/// A new token.
pub struct Issued {
    /// The token.
    pub token: String,
    /// The lifetime that was granted; for extended tokens the one the client should count with.
    pub seconds: i64,
    /// Its end as the client should see it.
    pub expires: Timestamp,
}

impl Issuer {
    /// Reads the key the flags name; `None` if this server issues no tokens. The audiences are those of the server.
    pub fn load(args: &AccessArgs, audiences: &[String]) -> Result<Option<Self>, AuthnError> {
        let Some(path) = &args.service_account_signing_key_file else {
            return Ok(None);
        };
        let signer = Reloaded::new(vec![path.clone()], |files| read_signer(&files[0]))?;
        let mut issuer =
            Self::with_signer(signer, args.service_account_issuer.first().cloned().unwrap_or_default(), audiences);
        issuer.longest = args.service_account_max_token_expiration.map(seconds);
        issuer.extend = args.service_account_extend_token_expiration;
        Ok(Some(issuer))
    }

    /// An issuer of a name with a key.
    pub fn new(signer: TokenSigner, name: String, audiences: &[String]) -> Self {
        Self::with_signer(Reloaded::fixed(signer), name, audiences)
    }

    fn with_signer(signer: Reloaded<TokenSigner>, name: String, audiences: &[String]) -> Self {
        Self { signer, name, audiences: audiences.to_vec(), longest: None, extend: false }
    }

    /// The audiences of tokens that ask for none.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Makes a token.
    pub fn issue(
        &self,
        facts: KubernetesClaims,
        audiences: &[String],
        lifetime: Lifetime,
        now: Timestamp,
    ) -> Result<Issued, PkiError> {
        let seconds = self.longest.map_or(lifetime.seconds, |longest| lifetime.seconds.min(longest));
        let start = now.as_second();
        let own = !audiences.is_empty() && audiences.iter().all(|audience| self.audiences.contains(audience));
        let extend = self.extend && lifetime.pod && own && seconds == POD_SECONDS;
        let end = start + if extend { EXTENDED_SECONDS } else { seconds };
        let claims = Claims {
            aud: audiences.to_vec(),
            exp: end,
            iat: start,
            iss: self.name.clone(),
            jti: Uuid::new_v4().to_string(),
            nbf: start,
            sub: crate::authn::service_account::user_name(&facts.namespace, &facts.serviceaccount.name),
            kubernetes: Some(KubernetesClaims { warnafter: extend.then_some(start + seconds), ..facts }),
        };
        let claims = serde_json::to_vec(&claims).map_err(|_| PkiError::Malformed { what: "claims" })?;
        let expires = Timestamp::from_second(start + seconds).map_err(|_| PkiError::ValidityOutOfRange)?;
        Ok(Issued { token: self.signer.get().sign(&claims)?, seconds, expires })
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn read_signer(path: &Path) -> Result<TokenSigner, AuthnError> {
    let text = std::fs::read_to_string(path).map_err(|source| AuthnError::Read { path: path.to_owned(), source })?;
    TokenSigner::from_pem(&text).map_err(|source| AuthnError::Pki { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
