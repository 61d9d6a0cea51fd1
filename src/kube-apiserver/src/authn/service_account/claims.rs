//! What service account tokens say.

use serde::{Deserialize, Deserializer, Serialize};

/// The claims of a bound token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom it is.
    #[serde(default, deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// When it ends, seconds since 1970.
    #[serde(default)]
    pub exp: i64,
    /// When it was made.
    #[serde(default)]
    pub iat: i64,
    /// By whom.
    #[serde(default)]
    pub iss: String,
    /// Its own id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// What Kubernetes says besides.
    #[serde(rename = "kubernetes.io", default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesClaims>,
    /// When it begins.
    #[serde(default)]
    pub nbf: i64,
    /// Whose it is.
    #[serde(default)]
    pub sub: String,
}

/// The part of the claims that names objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesClaims {
    /// The namespace of all but the node.
    #[serde(default)]
    pub namespace: String,
    /// The node of the pod, or what the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Bound>,
    /// The pod the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Bound>,
    /// The secret the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Bound>,
    /// The account.
    pub serviceaccount: Bound,
    /// From when its use is worth a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// An object by name and uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The name.
    #[serde(default)]
    pub name: String,
    /// The uid.
    #[serde(default)]
    pub uid: String,
}

impl Claims {
    /// Whether a token with an end is inside its time; one without an end never is.
    pub(super) fn valid_at(&self, now: i64, leeway: i64) -> bool {
        self.exp > now && self.nbf <= now.saturating_add(leeway) && self.iat <= now.saturating_add(leeway)
    }
}

/// The claims of a token in a Secret.
#[derive(Debug, Default, Deserialize)]
pub(super) struct LegacyClaims {
    #[serde(default)]
    pub(super) sub: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace", default)]
    pub(super) namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name", default)]
    pub(super) secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name", default)]
    pub(super) account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid", default)]
    pub(super) account_uid: String,
}

/// An audience may be one text or a list of them (RFC 7519).
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}
