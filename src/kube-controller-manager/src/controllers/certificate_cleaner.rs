//! Certificate requests that are answered, or that nobody answers, do not stay forever.

use std::time::Duration;

use controller_runtime::{ObjectKey, Requeue, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Api;
use kube::api::DeleteParams;

use super::certificate_approver::has;
use crate::scope::{Scope, gone_is_fine};

/// How long an answered request stays, for people to look at.
const ANSWERED: Duration = Duration::from_hours(1);
/// How long a request waits for an answer.
const PENDING: Duration = Duration::from_hours(24);

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("csr-cleaner");
    Scope::feed(&scope.stores.requests, &queue);
    let reconciling = scope.clone();
    scope.work(queue, 1, move |key| reconcile(reconciling.clone(), key)).await;
}

async fn reconcile(scope: Scope, key: ObjectKey) -> Result<Requeue, kube::Error> {
    let Some(request) = scope.stores.requests.get(&key) else { return Ok(Requeue::No) };
    let left = left(&request, Timestamp::now());
    if !left.is_zero() {
        return Ok(Requeue::After(left));
    }
    let requests: Api<CertificateSigningRequest> = Api::all(scope.client.clone());
    gone_is_fine(requests.delete(&key.name, &DeleteParams::default()).await)?;
    Ok(Requeue::No)
}

fn left(request: &CertificateSigningRequest, now: Timestamp) -> Duration {
    let issued = request.status.as_ref().is_some_and(|status| status.certificate.is_some());
    let answered = has(request, "Denied") || has(request, "Failed") || (has(request, "Approved") && issued);
    let since = request.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let age: Duration = now.duration_since(since).try_into().unwrap_or(Duration::ZERO);
    (if answered { ANSWERED } else { PENDING }).saturating_sub(age)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answered_request_goes_sooner_than_one_that_waits() {
        let now = "2026-01-01T00:30:00Z".parse().unwrap();
        let mut request: CertificateSigningRequest = serde_json::from_value(json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"request": "", "signerName": "x"},
        }))
        .unwrap();
        assert_eq!(left(&request, now), Duration::from_mins(24 * 60 - 30));
        request.status = serde_json::from_value(json!({"conditions": [{"type": "Denied", "status": "True"}]})).unwrap();
        assert_eq!(left(&request, now), Duration::from_mins(30));
    }
}
