//! Approves the certificates kubelets ask for as clients: the first by a bootstrap token, the next by the node itself.

use controller_runtime::{ObjectKey, Requeue, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::PostParams;
use pki::csr::CertificateRequest;

use crate::scope::{Scope, WORKERS};

pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("csr-approver");
    Scope::feed(&scope.stores.requests, &queue);
    let reconciling = scope.clone();
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), key)).await;
}

/// The decision that stands on a request.
pub(super) fn has(request: &CertificateSigningRequest, decision: &str) -> bool {
    let conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == decision && condition.status != "False")
}

async fn reconcile(scope: Scope, key: ObjectKey) -> Result<Requeue, kube::Error> {
    let Some(request) = scope.stores.requests.get(&key) else { return Ok(Requeue::No) };
    if has(&request, "Approved") || has(&request, "Denied") || request.spec.signer_name != KUBELET_CLIENT {
        return Ok(Requeue::No);
    }
    let Some(permission) = permission(&request) else { return Ok(Requeue::No) };
    if !allowed(&scope, &request, permission).await? {
        // The requester may yet be given the right; nothing tells when.
        return Ok(Requeue::RateLimited);
    }
    let condition = CertificateSigningRequestCondition {
        type_: "Approved".to_owned(),
        status: "True".to_owned(),
        reason: Some("AutoApproved".to_owned()),
        message: Some(format!("The requester may {permission}.")),
        last_update_time: Some(Time(Timestamp::now())),
        last_transition_time: None,
    };
    let mut approved = CertificateSigningRequest::clone(&request);
    let status = approved.status.get_or_insert_default();
    status.conditions.get_or_insert_default().push(condition);
    let requests: Api<CertificateSigningRequest> = Api::all(scope.client.clone());
    // Upstream's policy lets this controller update the approval, not patch it.
    let answer: Result<CertificateSigningRequest, _> =
        requests.replace_subresource("approval", &key.name, &PostParams::default(), &approved).await;
    answer?;
    Ok(Requeue::No)
}

/// What the requester must be allowed to create, if the request is one a kubelet makes.
fn permission(request: &CertificateSigningRequest) -> Option<&'static str> {
    let asked = read(request)?;
    if !is_kubelet_client(&asked, request.spec.usages.as_deref().unwrap_or_default()) {
        return None;
    }
    let own = request.spec.username.as_deref() == Some(asked.common_name.as_str());
    Some(if own { "certificatesigningrequests/selfnodeclient" } else { "certificatesigningrequests/nodeclient" })
}

/// The facts of a request, if it is well formed and signed by its key.
pub(super) fn read(request: &CertificateSigningRequest) -> Option<CertificateRequest> {
    CertificateRequest::from_pem(std::str::from_utf8(&request.spec.request.0).ok()?).ok()
}

fn names_node(asked: &CertificateRequest) -> bool {
    asked.organizations == ["system:nodes"]
        && asked.common_name.strip_prefix("system:node:").is_some_and(|node| !node.is_empty())
}

fn uses(usages: &[String], needed: &str) -> bool {
    let optional = ["key encipherment", "digital signature"];
    usages.iter().any(|usage| usage == needed)
        && usages.iter().any(|usage| usage == "digital signature")
        && usages.iter().all(|usage| usage == needed || optional.contains(&usage.as_str()))
}

/// Whether a request is for a node as a client: its name, its group, no other names, no other use.
pub(super) fn is_kubelet_client(asked: &CertificateRequest, usages: &[String]) -> bool {
    names_node(asked) && asked.sans.is_empty() && uses(usages, "client auth")
}

/// Whether a request is for a node as a server, made by the node itself.
pub(super) fn is_kubelet_serving(asked: &CertificateRequest, usages: &[String], username: Option<&str>) -> bool {
    use pki::SubjectAltName;
    let addressable = asked.sans.iter().all(|san| matches!(san, SubjectAltName::Dns(_) | SubjectAltName::Ip(_)));
    names_node(asked)
        && !asked.sans.is_empty()
        && addressable
        && uses(usages, "server auth")
        && username == Some(asked.common_name.as_str())
}

async fn allowed(scope: &Scope, request: &CertificateSigningRequest, permission: &str) -> Result<bool, kube::Error> {
    let (resource, subresource) = permission.split_once('/').unwrap_or((permission, ""));
    let attributes = ResourceAttributes {
        group: Some("certificates.k8s.io".to_owned()),
        resource: Some(resource.to_owned()),
        subresource: Some(subresource.to_owned()),
        verb: Some("create".to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: request.spec.username.clone(),
        uid: request.spec.uid.clone(),
        groups: request.spec.groups.clone(),
        extra: request.spec.extra.clone(),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(scope.client.clone());
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

#[cfg(test)]
pub(super) mod tests {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
    use pki::{KeyPair, SubjectAltName};

    use super::*;

    pub(in super::super) fn request(
        name: &str,
        groups: &[&str],
        sans: &[SubjectAltName],
        usages: &[&str],
        username: &str,
    ) -> CertificateSigningRequest {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let text = pki::csr::create(name, &groups, sans, &KeyPair::generate().unwrap()).unwrap();
        let spec = CertificateSigningRequestSpec {
            request: ByteString(text.into_bytes()),
            usages: Some(usages.iter().map(|usage| (*usage).to_owned()).collect()),
            username: Some(username.to_owned()),
            ..CertificateSigningRequestSpec::default()
        };
        CertificateSigningRequest { spec, ..CertificateSigningRequest::default() }
    }

    const CLIENT: [&str; 2] = ["digital signature", "client auth"];

    #[test]
    fn a_node_may_ask_for_itself_and_a_bootstrapper_for_a_node() {
        let own = request("system:node:a", &["system:nodes"], &[], &CLIENT, "system:node:a");
        assert_eq!(permission(&own), Some("certificatesigningrequests/selfnodeclient"));
        let first = request("system:node:a", &["system:nodes"], &[], &CLIENT, "system:bootstrap:abcdef");
        assert_eq!(permission(&first), Some("certificatesigningrequests/nodeclient"));
    }

    #[test]
    fn other_names_groups_or_uses_are_not_for_us() {
        let dns = [SubjectAltName::Dns("evil".to_owned())];
        for wrong in [
            request("system:node:a", &["system:masters"], &[], &CLIENT, "system:node:a"),
            request("system:node:a", &["system:nodes", "system:masters"], &[], &CLIENT, "system:node:a"),
            request("admin", &["system:nodes"], &[], &CLIENT, "admin"),
            request("system:node:", &["system:nodes"], &[], &CLIENT, "x"),
            request("system:node:a", &["system:nodes"], &dns, &CLIENT, "system:node:a"),
            request(
                "system:node:a",
                &["system:nodes"],
                &[],
                &["digital signature", "client auth", "server auth"],
                "system:node:a",
            ),
        ] {
            assert_eq!(permission(&wrong), None, "{:?}", read(&wrong));
        }
    }

    #[test]
    fn a_serving_request_must_come_from_the_node_it_names() {
        let dns = [SubjectAltName::Dns("a".to_owned())];
        let usages = ["digital signature".to_owned(), "server auth".to_owned()];
        let asked = read(&request("system:node:a", &["system:nodes"], &dns, &[], "")).unwrap();
        assert!(is_kubelet_serving(&asked, &usages, Some("system:node:a")));
        assert!(!is_kubelet_serving(&asked, &usages, Some("system:node:b")));
    }
}
