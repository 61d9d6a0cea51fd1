//! Acting as somebody else: `Impersonate-*` headers, each part of the identity authorized for itself.

use apimachinery::Status;
use http::{HeaderMap, HeaderName};

use crate::authz::{Attributes, Authorizer};
use crate::query::percent_decode;
use crate::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User};

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// The user to act as, if the request asks for one and may; `None` if it does not ask.
pub fn impersonated(user: &User, headers: &HeaderMap, authorizer: &Authorizer) -> Result<Option<User>, Status> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let groups: Vec<String> =
        headers.get_all(&GROUP).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    let mut target = User { uid: text(&UID).to_owned(), ..User::new(text(&USER), groups) };
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) {
            target.extra.entry(percent_decode(key)).or_default().push(value.to_owned());
        }
    }
    if target.name.is_empty() {
        let asks = !target.groups.is_empty() || !target.uid.is_empty() || !target.extra.is_empty();
        let why = "requested impersonation without impersonating a user";
        return if asks { Err(Status::bad_request(why)) } else { Ok(None) };
    }
    authorize(user, &target, authorizer)?;
    complete(&mut target);
    Ok(Some(target))
}

fn authorize(user: &User, target: &User, authorizer: &Authorizer) -> Result<(), Status> {
    let ask = |group, resource, namespace: &str, name: &str, subresource: &str| {
        authorizer.require(&Attributes {
            subresource,
            namespace,
            name,
            ..Attributes::resource(user, "impersonate", (group, resource))
        })
    };
    match service_account(&target.name) {
        Some((namespace, name)) => ask("", "serviceaccounts", namespace, name, "")?,
        None => ask("", "users", "", &target.name, "")?,
    }
    for group in &target.groups {
        ask("", "groups", "", group, "")?;
    }
    for (key, values) in &target.extra {
        for value in values {
            ask(AUTHENTICATION, "userextras", "", value, key)?;
        }
    }
    if target.uid.is_empty() { Ok(()) } else { ask(AUTHENTICATION, "uids", "", &target.uid, "") }
}

fn complete(target: &mut User) {
    if let Some((namespace, _)) = service_account(&target.name)
        && target.groups.is_empty()
    {
        let own = format!("system:serviceaccounts:{namespace}");
        target.groups = vec!["system:serviceaccounts".to_owned(), own];
    }
    let group = if target.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !target.in_group(AUTHENTICATED) && !target.in_group(UNAUTHENTICATED) {
        target.groups.push(group.to_owned());
    }
}

fn service_account(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("system:serviceaccount:")?.split_once(':')
}
