//! Nobody grants what they do not have: the checks on writes of roles and bindings.
//!
//! `escalate` on roles and `bind` on a role are the two ways around it, and they are not the same: who may bind a role may
//! not write one.

use apimachinery::{Object, Status};

use super::rbac::{self, RoleRef};
use super::rules::{PolicyRule, uncovered};
use super::{Attributes, Authorizer};
use crate::admission;
use crate::user::User;

/// Checks any write on its way in; what is no role or binding passes.
pub fn check(write: &admission::Attributes<'_>) -> Result<(), Status> {
    let Some(object) = write.object.as_deref() else { return Ok(()) };
    let authorizer = &write.app.authorizer;
    if write.is(rbac::GROUP, "roles") || write.is(rbac::GROUP, "clusterroles") {
        check_role(authorizer, write.user, object, write.old)
    } else if write.is(rbac::GROUP, "rolebindings") || write.is(rbac::GROUP, "clusterrolebindings") {
        check_binding(authorizer, write.user, object, write.old)
    } else {
        Ok(())
    }
}

/// Checks a write of a Role or `ClusterRole`; `old` is the object before an update.
pub fn check_role(authorizer: &Authorizer, user: &User, role: &Object, old: Option<&Object>) -> Result<(), Status> {
    let cluster = role.kind() == "ClusterRole";
    let resource = if cluster { "clusterroles" } else { "roles" };
    let rules = rbac::rules_of(role);
    let unchanged = old
        .is_some_and(|old| rbac::rules_of(old) == rules && old.get("aggregationRule") == role.get("aggregationRule"));
    if unchanged || may(authorizer, user, "escalate", (resource, role.namespace(), role.name())) {
        return Ok(());
    }
    let subject = (resource, role.name());
    if role.get("aggregationRule").is_some_and(|rule| !rule.is_empty())
        && old.is_none_or(|old| old.get("aggregationRule") != role.get("aggregationRule"))
    {
        // Whoever chooses what is aggregated could choose everything.
        let objects = PolicyRule { verbs: all(), api_groups: all(), resources: all(), ..PolicyRule::default() };
        let paths = PolicyRule { verbs: all(), non_resource_urls: all(), ..PolicyRule::default() };
        check_held(authorizer, user, subject, ("", &[objects, paths]))?;
    }
    check_held(authorizer, user, subject, (role.namespace(), &rules))
}

/// Checks a write of a `RoleBinding` or `ClusterRoleBinding`; `old` is the object before an update.
pub fn check_binding(
    authorizer: &Authorizer,
    user: &User,
    binding: &Object,
    old: Option<&Object>,
) -> Result<(), Status> {
    let reference = rbac::role_ref_of(binding);
    let unchanged =
        old.is_some_and(|old| rbac::role_ref_of(old) == reference && old.get("subjects") == binding.get("subjects"));
    let namespace = binding.namespace();
    let bound = if reference.kind == "ClusterRole" { "clusterroles" } else { "roles" };
    if unchanged || may(authorizer, user, "bind", (bound, namespace, &reference.name)) {
        return Ok(());
    }
    let Some(rules) = authorizer.rbac.role(&reference, namespace) else {
        return Err(unknown_role(&reference, bound));
    };
    let resource = if binding.kind() == "ClusterRoleBinding" { "clusterrolebindings" } else { "rolebindings" };
    check_held(authorizer, user, (resource, binding.name()), (namespace, &rules))
}

fn may(authorizer: &Authorizer, user: &User, verb: &str, (resource, namespace, name): (&str, &str, &str)) -> bool {
    let asked = Attributes { namespace, name, ..Attributes::resource(user, verb, (rbac::GROUP, resource)) };
    authorizer.authorize(&asked).allowed
}

fn check_held(
    authorizer: &Authorizer,
    user: &User,
    (resource, name): (&str, &str),
    (namespace, wanted): (&str, &[PolicyRule]),
) -> Result<(), Status> {
    let held: Vec<PolicyRule> =
        authorizer.rbac.grants(user, namespace).iter().flat_map(|grant| grant.rules.iter().cloned()).collect();
    let missing = uncovered(&held, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let why = format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        user.groups,
        missing.join("\n")
    );
    Err(Status::forbidden(rbac::GROUP, resource, name, why))
}

fn unknown_role(reference: &RoleRef, resource: &str) -> Status {
    Status::not_found(rbac::GROUP, resource, &reference.name)
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

#[cfg(test)]
mod tests;
