//! Signs approved certificate requests with the cluster's authority.

use std::sync::Arc;
use std::time::Duration;

use controller_runtime::{ObjectKey, Requeue, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::PostParams;
use pki::csr::CertificateRequest;
use pki::{CertificateAuthority, PkiError, Usage};

use super::certificate_approver::{KUBELET_CLIENT, has, is_kubelet_client, is_kubelet_serving, read};
use crate::config::Signing;
use crate::scope::{Scope, WORKERS};

const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// Below this a certificate would be of no use; the API refuses to ask for less.
const SHORTEST: Duration = Duration::from_mins(10);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("cannot read the signing authority")]
    Read(#[from] std::io::Error),
    #[error("cannot sign")]
    Sign(#[from] PkiError),
}

pub(super) async fn run(scope: Scope) {
    let Some(signing) = scope.config.signing.clone().map(Arc::new) else {
        return tracing::info!("certificates are not signed: --cluster-signing-cert-file is not set");
    };
    let queue = WorkQueue::new("csr-signer");
    Scope::feed(&scope.stores.requests, &queue);
    let reconciling = scope.clone();
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), Arc::clone(&signing), key)).await;
}

async fn reconcile(scope: Scope, signing: Arc<Signing>, key: ObjectKey) -> Result<Requeue, Error> {
    let Some(request) = scope.stores.requests.get(&key) else { return Ok(Requeue::No) };
    let signed = request.status.as_ref().is_some_and(|status| status.certificate.is_some());
    if signed || !has(&request, "Approved") || has(&request, "Denied") || has(&request, "Failed") {
        return Ok(Requeue::No);
    }
    let mut answered = CertificateSigningRequest::clone(&request);
    let status = answered.status.get_or_insert_default();
    match verdict(&request) {
        Verdict::NotOurs => return Ok(Requeue::No),
        Verdict::Refused(message) => status.conditions.get_or_insert_default().push(failure(message)),
        Verdict::Sign(usages) => {
            // Read for each request: requests are rare, and an authority may be renewed on disk.
            let authority = CertificateAuthority::from_pem(
                &tokio::fs::read_to_string(&signing.cert).await?,
                &tokio::fs::read_to_string(&signing.key).await?,
            )?;
            let text = String::from_utf8_lossy(&request.spec.request.0);
            let certificate =
                authority.sign_csr(&text, &usages, lifetime(&request, signing.lifetime), Timestamp::now())?;
            status.certificate = Some(ByteString(certificate.into_bytes()));
        }
    }
    let requests: Api<CertificateSigningRequest> = Api::all(scope.client.clone());
    requests.replace_status(&key.name, &PostParams::default(), &answered).await?;
    Ok(Requeue::No)
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    NotOurs,
    Refused(&'static str),
    Sign(Vec<Usage>),
}

/// Approval says that the requester may; this says whether the signer signs such a thing at all.
fn verdict(request: &CertificateSigningRequest) -> Verdict {
    let signer = request.spec.signer_name.as_str();
    if ![KUBELET_CLIENT, KUBELET_SERVING, API_CLIENT, LEGACY].contains(&signer) {
        return Verdict::NotOurs;
    }
    let Some(asked) = read(request) else { return Verdict::Refused("the request is malformed") };
    let names = request.spec.usages.as_deref().unwrap_or_default();
    if !permitted(signer, &asked, names, request.spec.username.as_deref()) {
        return Verdict::Refused("the request is not one this signer signs");
    }
    match names.iter().map(|name| Usage::parse(name)).collect::<Option<Vec<_>>>() {
        Some(usages) => Verdict::Sign(usages),
        None => Verdict::Refused("a usage is not known"),
    }
}

fn permitted(signer: &str, asked: &CertificateRequest, usages: &[String], username: Option<&str>) -> bool {
    match signer {
        KUBELET_CLIENT => is_kubelet_client(asked, usages),
        KUBELET_SERVING => is_kubelet_serving(asked, usages, username),
        API_CLIENT => {
            let fitting = ["client auth", "digital signature", "key encipherment"];
            let masters = asked.organizations.iter().any(|group| group == "system:masters");
            !masters
                && usages.iter().any(|usage| usage == "client auth")
                && usages.iter().all(|usage| fitting.contains(&usage.as_str()))
        }
        _ => true,
    }
}

fn lifetime(request: &CertificateSigningRequest, longest: Duration) -> Duration {
    let asked = request.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    asked.map_or(longest, |seconds| Duration::from_secs(seconds).clamp(SHORTEST.min(longest), longest))
}

fn failure(message: &str) -> CertificateSigningRequestCondition {
    CertificateSigningRequestCondition {
        type_: "Failed".to_owned(),
        status: "True".to_owned(),
        reason: Some("SignerValidationFailure".to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(Time(Timestamp::now())),
        last_transition_time: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate_approver::tests::request;
    use super::*;

    fn judged(signer: &str, name: &str, groups: &[&str], usages: &[&str]) -> Verdict {
        let mut request = request(name, groups, &[], usages, name);
        request.spec.signer_name = signer.to_owned();
        verdict(&request)
    }

    #[test]
    fn each_signer_signs_its_own_kind_only() {
        let client = ["digital signature", "client auth"];
        let signed = Verdict::Sign(vec![Usage::DigitalSignature, Usage::ClientAuth]);
        assert_eq!(judged(KUBELET_CLIENT, "system:node:a", &["system:nodes"], &client), signed);
        assert_eq!(judged(API_CLIENT, "jane", &["developers"], &client), signed);
        assert!(matches!(judged(API_CLIENT, "jane", &["system:masters"], &client), Verdict::Refused(_)));
        assert!(matches!(judged(KUBELET_CLIENT, "jane", &["system:nodes"], &client), Verdict::Refused(_)));
        assert!(
            matches!(
                judged(KUBELET_SERVING, "system:node:a", &["system:nodes"], &["digital signature", "server auth"]),
                Verdict::Refused(_)
            ),
            "no names"
        );
        assert_eq!(judged("example.com/other", "jane", &[], &client), Verdict::NotOurs);
    }

    #[test]
    fn a_lifetime_is_no_longer_than_allowed_and_no_shorter_than_useful() {
        let mut asked = CertificateSigningRequest::default();
        let year = Duration::from_hours(8760);
        assert_eq!(lifetime(&asked, year), year);
        asked.spec.expiration_seconds = Some(60);
        assert_eq!(lifetime(&asked, year), SHORTEST);
        asked.spec.expiration_seconds = Some(i32::MAX);
        assert_eq!(lifetime(&asked, year), year);
    }
}
