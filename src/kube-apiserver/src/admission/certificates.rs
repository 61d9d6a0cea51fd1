//! Certificate signing requests: who may approve and sign for a signer, and that nobody asks for the masters' group.

use apimachinery::{Object, Status, Value};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};
use crate::authz;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
/// The signer whose certificates the API server trusts.
const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// `CertificateApproval`.
pub(super) const APPROVAL: Plugin = Plugin {
    name: "CertificateApproval",
    by_default: true,
    handles: |attributes| attributes.is(GROUP, REQUESTS) && attributes.info.subresource == "approval",
    mutate: None,
    validate: Some(|attributes| check(attributes, "approve")),
};

/// `CertificateSigning`.
pub(super) const SIGNING: Plugin = Plugin {
    name: "CertificateSigning",
    by_default: true,
    handles: |attributes| {
        attributes.is(GROUP, REQUESTS) && attributes.info.subresource == "status" && certificate_changes(attributes)
    },
    mutate: None,
    validate: Some(|attributes| check(attributes, "sign")),
};

/// `CertificateSubjectRestriction`.
pub(super) const SUBJECT: Plugin = Plugin {
    name: "CertificateSubjectRestriction",
    by_default: true,
    handles: |attributes| {
        attributes.operation == Operation::Create
            && attributes.is(GROUP, REQUESTS)
            && attributes.info.subresource.is_empty()
    },
    mutate: Some(name_requester),
    validate: Some(subject),
};

fn certificate_changes(attributes: &Attributes<'_>) -> bool {
    let of = |object: Option<&Object>| object.map(|object| object.str_at(&["status", "certificate"]).to_owned());
    of(attributes.object.as_deref()) != of(attributes.old)
}

fn check<'a>(attributes: &'a Attributes<'_>, verb: &'static str) -> BoxFuture<'a, Result<(), Status>> {
    let signer = attributes.old.map_or("", |request| request.str_at(&["spec", "signerName"]));
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    let all = format!("{domain}/*");
    let may = |name: &str| {
        let asked =
            authz::Attributes { name, ..authz::Attributes::resource(attributes.user, verb, (GROUP, "signers")) };
        attributes.app.authorizer.authorize(&asked).allowed
    };
    let outcome = if may(signer) || may(&all) {
        Ok(())
    } else {
        Err(attributes.forbidden(format_args!("user not permitted to {verb} requests with signerName {signer:?}")))
    };
    futures::future::ready(outcome).boxed()
}

/// Writes down who asks; signers and approvers rely on it, so it is never taken from the body.
fn name_requester<'a>(attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let user = attributes.user;
    if let Some(request) = attributes.object.as_deref_mut() {
        request.set_at(&["spec", "username"], user.name.as_str());
        let optional = |text: &str| (!text.is_empty()).then(|| Value::from(text));
        let groups: Value = user.groups.iter().map(String::as_str).collect();
        let mut extra = Value::map();
        for (key, values) in &user.extra {
            extra.set_at(&[key], values.iter().map(String::as_str).collect::<Value>());
        }
        for (field, value) in [
            ("uid", optional(&user.uid)),
            ("groups", (!groups.is_empty()).then_some(groups)),
            ("extra", (!extra.is_empty()).then_some(extra)),
        ] {
            match value {
                Some(value) => request.set_at(&["spec", field], value),
                None => drop(request.remove_at(&["spec", field])),
            }
        }
    }
    futures::future::ready(Ok(())).boxed()
}

fn subject<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let outcome = match attributes.object.as_deref() {
        Some(request) if asks_for_masters(request) => Err(attributes
            .forbidden("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed")),
        _ => Ok(()),
    };
    futures::future::ready(outcome).boxed()
}

/// What cannot be read here is refused by the checks of the kind.
fn asks_for_masters(request: &Object) -> bool {
    if request.str_at(&["spec", "signerName"]) != API_CLIENT {
        return false;
    }
    let pem = STANDARD.decode(request.str_at(&["spec", "request"])).unwrap_or_default();
    let pem = String::from_utf8_lossy(&pem);
    pki::csr::CertificateRequest::from_pem(&pem)
        .is_ok_and(|asked| asked.organizations.iter().any(|group| group == crate::user::MASTERS))
}
