//! Users by tokens of other issuers (`OpenID` Connect): whose keys are fetched, kept, and fetched anew for a key not seen yet.
//!
//! # Guarantees
//! The issuer's discovery document must name the issuer itself; only its published keys verify, with the algorithm of the
//! key. A token is good for its time and for one of the audiences of the configuration.

mod keys;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::configuration::JwtConfig;
use crate::user::User;
use keys::Keys;
pub use keys::OidcError;

/// A token may be used this much before its time begins, as upstream.
const NOT_BEFORE_LEEWAY: i64 = 300;

/// One issuer.
pub struct Oidc {
    config: JwtConfig,
    keys: Keys,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    #[serde(default)]
    aud: Value,
    exp: Option<i64>,
    nbf: Option<i64>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// The issuer a token names, without any verification.
pub fn issuer_of(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let claims = pki::jwt::unverified_claims(token)?;
    serde_json::from_slice::<Issuer>(&claims).ok().map(|claims| claims.iss)
}

impl Oidc {
    /// An issuer whose keys are fetched when first needed.
    ///
    /// # Errors
    /// If the authority of its certificate cannot be read.
    pub fn new(config: JwtConfig) -> Result<Self, OidcError> {
        let keys = Keys::new(&config.issuer)?;
        Ok(Self { config, keys })
    }

    /// The name tokens carry.
    pub fn url(&self) -> &str {
        &self.config.issuer.url
    }

    /// The owner of a token of this issuer that is good now.
    pub async fn user(&self, token: &str) -> Option<User> {
        let bytes = match self.keys.verify(token).await {
            Ok(bytes) => bytes?,
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::warn!(
                    issuer = self.url(),
                    error = format!("{error:#}"),
                    "the keys of an issuer are not known"
                );
                return None;
            }
        };
        let claims: Claims = serde_json::from_slice(&bytes).ok()?;
        self.owner(&claims, Timestamp::now().as_second())
            .inspect_err(|reason| tracing::debug!(issuer = self.url(), reason, "a token is not accepted"))
            .ok()
    }

    fn owner(&self, claims: &Claims, now: i64) -> Result<User, &'static str> {
        if claims.iss != self.config.issuer.url {
            return Err("issuer");
        }
        let good = texts(&claims.aud).iter().any(|audience| self.config.issuer.audiences.contains(audience));
        if !good {
            return Err("audience");
        }
        if claims.exp.is_none_or(|end| end <= now) || claims.nbf.is_some_and(|begin| begin > now + NOT_BEFORE_LEEWAY) {
            return Err("time");
        }
        for rule in &self.config.claim_validation_rules {
            if claims.more.get(&rule.claim).and_then(Value::as_str) != Some(&*rule.required_value) {
                return Err("a required claim");
            }
        }
        self.name(claims)
    }

    fn name(&self, claims: &Claims) -> Result<User, &'static str> {
        let mappings = &self.config.claim_mappings;
        let claim = &mappings.username.claim;
        let name = claims.more.get(claim).and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or("no user name")?;
        // An address somebody only claims to have names nobody.
        if claim == "email" && claims.more.get("email_verified").is_some_and(|verified| *verified != Value::Bool(true))
        {
            return Err("the address is not verified");
        }
        let mut user = User::new(format!("{}{name}", mappings.username.prefix), Vec::<String>::new());
        if let Some(groups) = mappings.groups.as_ref().filter(|groups| !groups.claim.is_empty()) {
            let named = claims.more.get(&groups.claim).map(texts).unwrap_or_default();
            user.groups = named.into_iter().map(|group| format!("{}{group}", groups.prefix)).collect();
        }
        if let Some(uid) = &mappings.uid {
            let uid = claims.more.get(&uid.claim).and_then(Value::as_str);
            uid.ok_or("no uid")?.clone_into(&mut user.uid);
        }
        Ok(user)
    }
}

/// One text or a list of them.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
