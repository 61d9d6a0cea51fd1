//! Certificate signing requests: who may approve and sign for a signer, and that nobody asks for the masters' group.

use apimachinery::{Object, Status, Value, time};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;

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
        attributes.is(GROUP, REQUESTS) && attributes.info.subresource == "status" && signature_changes(attributes)
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
    mutate: None,
    validate: Some(subject),
};

/// Writes down who asks; nobody can switch it off.
pub(super) const REQUESTER: Plugin = Plugin {
    name: "CertificateRequester",
    by_default: true,
    handles: SUBJECT.handles,
    mutate: Some(name_requester),
    validate: None,
};

/// Says when a condition was set; nobody can switch it off.
pub(super) const TIMES: Plugin = Plugin {
    name: "CertificateConditionTimes",
    by_default: true,
    handles: |attributes| {
        attributes.operation == Operation::Update
            && attributes.is(GROUP, REQUESTS)
            && matches!(attributes.info.subresource.as_str(), "approval" | "status")
    },
    mutate: Some(|attributes| {
        if let Some(request) = attributes.object.as_deref_mut() {
            set_times(request, attributes.old, &time::format(Timestamp::now()));
        }
        futures::future::ready(Ok(())).boxed()
    }),
    validate: None,
};

fn set_times(request: &mut Object, old: Option<&Object>, now: &str) {
    let path = ["status", "conditions"];
    let before = old.map(|old| old.list_at(&path).to_vec()).unwrap_or_default();
    for condition in request.at_mut(&path).and_then(Value::as_list_mut).into_iter().flatten() {
        let same = before.iter().find(|one| one.str("type") == condition.str("type"));
        let unchanged = same.filter(|one| one.str("status") == condition.str("status"));
        let since = unchanged.map_or(now, |one| one.str("lastTransitionTime")).to_owned();
        for (field, at) in [("lastUpdateTime", now), ("lastTransitionTime", since.as_str())] {
            if condition.str(field).is_empty() {
                condition.set_at(&[field], at);
            }
        }
    }
}

fn signature_changes(attributes: &Attributes<'_>) -> bool {
    let (new, old) = (attributes.object.as_deref(), attributes.old);
    ["certificate", "conditions"].iter().any(|field| {
        let of = |object: Option<&Object>| object.and_then(|object| object.at(&["status", field])).cloned();
        of(new) != of(old)
    })
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

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    #[test]
    fn a_condition_knows_when_it_was_set_and_when_it_turned() {
        let request = |conditions: Value| Object::try_from(value!({"status": {"conditions": (conditions)}})).unwrap();
        let old = request(value!([
            {"type": "Approved", "status": "True", "lastUpdateTime": "a", "lastTransitionTime": "a"}]));
        let mut new = request(value!([{"type": "Approved", "status": "True"}, {"type": "Failed", "status": "True"}]));
        set_times(&mut new, Some(&old), "b");
        let expected = value!([
            {"type": "Approved", "status": "True", "lastUpdateTime": "b", "lastTransitionTime": "a"},
            {"type": "Failed", "status": "True", "lastUpdateTime": "b", "lastTransitionTime": "b"}]);
        assert_eq!(new.at(&["status", "conditions"]), Some(&expected));
    }
}
