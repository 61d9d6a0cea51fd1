//! Bootstrap tokens are removed when they expire.

use std::time::Duration;

use controller_runtime::{ObjectKey, Requeue, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Preconditions};

use crate::scope::{Scope, gone_is_fine};

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("token-cleaner");
    Scope::feed(&scope.stores.bootstrap_tokens, &queue);
    let reconciling = scope.clone();
    scope.work(queue, 1, move |key| reconcile(reconciling.clone(), key)).await;
}

async fn reconcile(scope: Scope, key: ObjectKey) -> Result<Requeue, kube::Error> {
    let Some(secret) = scope.stores.bootstrap_tokens.get(&key) else { return Ok(Requeue::No) };
    match left(&secret, Timestamp::now()) {
        None => Ok(Requeue::No),
        Some(left) if !left.is_zero() => Ok(Requeue::After(left)),
        Some(_) => {
            let preconditions = Preconditions { uid: secret.metadata.uid.clone(), ..Preconditions::default() };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            gone_is_fine(scope.api::<Secret>(&key.namespace).delete(&key.name, &params).await)?;
            tracing::info!(secret = %key, "removed an expired bootstrap token");
            Ok(Requeue::No)
        }
    }
}

/// How long a token still lives; `None` is forever. An expiry that cannot be read has passed.
fn left(secret: &Secret, now: Timestamp) -> Option<Duration> {
    if secret.type_.as_deref() != Some("bootstrap.kubernetes.io/token") {
        return None;
    }
    let expiry = secret.data.as_ref()?.get("expiration")?;
    let expiry: Option<Timestamp> = std::str::from_utf8(&expiry.0).ok().and_then(|text| text.parse().ok());
    Some(expiry.map_or(Duration::ZERO, |expiry| expiry.duration_since(now).try_into().unwrap_or(Duration::ZERO)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(kind: &str, expiration: &str) -> Secret {
        let mut secret: Secret = serde_json::from_value(json!({"type": kind})).unwrap();
        secret.data = Some([("expiration".to_owned(), k8s_openapi::ByteString(expiration.as_bytes().to_vec()))].into());
        secret
    }

    #[test]
    fn only_bootstrap_tokens_expire() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(
            left(&token("bootstrap.kubernetes.io/token", "2026-01-01T01:00:00Z"), now),
            Some(Duration::from_hours(1))
        );
        assert_eq!(left(&token("bootstrap.kubernetes.io/token", "2025-01-01T01:00:00Z"), now), Some(Duration::ZERO));
        assert_eq!(left(&token("bootstrap.kubernetes.io/token", "never"), now), Some(Duration::ZERO));
        assert_eq!(left(&token("Opaque", "2025-01-01T01:00:00Z"), now), None);
    }
}
