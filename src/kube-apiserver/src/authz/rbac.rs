//! The RBAC authorizer: an index from subjects to bindings, kept up to date by events.
//!
//! # Guarantees
//! A decision costs what the asking user's own bindings and rules cost, not what the cluster has.

use std::collections::HashMap;
use std::sync::{Arc, RwLock, RwLockReadGuard};

use apimachinery::{Object, Value};
use serde::Deserialize;

use super::rules::PolicyRule;
use super::{Attributes, Decision};
use crate::user::User;

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";
/// Its resources, in the order in which they are best loaded.
pub const RESOURCES: [&str; 4] = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];

/// Namespace (empty for the cluster) and name.
type Key = (String, String);

/// Roles and bindings, indexed.
#[derive(Default)]
pub struct Rbac {
    index: RwLock<Index>,
}

#[derive(Default)]
struct Index {
    roles: HashMap<Key, Arc<[PolicyRule]>>,
    bindings: HashMap<Key, Arc<Binding>>,
    /// By namespace (empty for cluster role bindings), then by subject.
    by_subject: HashMap<String, HashMap<Subject, Vec<Arc<Binding>>>>,
}

#[derive(Debug)]
struct Binding {
    namespace: String,
    name: String,
    role: RoleRef,
    subjects: Vec<(Subject, String)>,
}

/// A user (service accounts are users too) or a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Group(String),
}

/// What a binding binds to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    pub kind: String,
    /// The name.
    pub name: String,
}

/// The rules a user has and from where.
pub struct Grant {
    /// The rules.
    pub rules: Arc<[PolicyRule]>,
    /// Text like `ClusterRoleBinding "x" of ClusterRole "y" to Group "z"`.
    pub source: String,
}

impl Rbac {
    /// Takes in a role or binding as it is now.
    pub fn put(&self, object: &Object) {
        let key = (object.namespace().to_owned(), object.name().to_owned());
        match object.kind() {
            "Role" | "ClusterRole" => {
                self.write(|index| index.roles.insert(key, rules_of(object).into()));
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                let binding = Arc::new(Binding::of(object));
                self.write(|index| {
                    index.remove_binding(&key);
                    index.add_binding(key, binding);
                });
            }
            _ => {}
        }
    }

    /// Forgets a role or binding; `namespace` is empty for those of the cluster.
    pub fn remove(&self, resource: &str, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        self.write(|index| match resource {
            "roles" | "clusterroles" => {
                index.roles.remove(&key);
            }
            _ => index.remove_binding(&key),
        });
    }

    /// Decides by the roles bound to the user and their groups.
    pub fn authorize(&self, asked: &Attributes<'_>) -> Decision {
        let mut missing = Vec::new();
        let allowed = self.visit(asked.user, asked.namespace, |binding, subject, rules| {
            let Some(rules) = rules else {
                missing.push(format!("{} {:?} not found", binding.role.kind, binding.role.name));
                return None;
            };
            rules.iter().any(|rule| rule.allows(asked)).then(|| source(binding, subject))
        });
        match allowed {
            Some(source) => Decision::allow(format!("RBAC: allowed by {source}")),
            None if missing.is_empty() => Decision::no(""),
            None => {
                missing.sort();
                missing.dedup();
                Decision::no(format!("RBAC: {}", missing.join(", ")))
            }
        }
    }

    /// All rules of a user in a namespace (of the cluster alone if empty).
    pub fn grants(&self, user: &User, namespace: &str) -> Vec<Grant> {
        let mut grants = Vec::new();
        self.visit(user, namespace, |binding, subject, rules| {
            let rules = rules?.clone();
            grants.push(Grant { rules, source: source(binding, subject) });
            None::<()>
        });
        grants
    }

    /// The rules of a role as a binding in a namespace refers to it.
    pub fn role(&self, reference: &RoleRef, namespace: &str) -> Option<Arc<[PolicyRule]>> {
        self.read().role(reference, namespace).cloned()
    }

    fn visit<R>(
        &self,
        user: &User,
        namespace: &str,
        mut look: impl FnMut(&Binding, &str, Option<&Arc<[PolicyRule]>>) -> Option<R>,
    ) -> Option<R> {
        let index = self.read();
        let subjects =
            std::iter::once(Subject::User(user.name.clone())).chain(user.groups.iter().cloned().map(Subject::Group));
        let subjects: Vec<Subject> = subjects.collect();
        let scopes = if namespace.is_empty() { &[""][..] } else { &["", namespace][..] };
        for scope in scopes {
            let Some(bindings) = index.by_subject.get(*scope) else {
                continue;
            };
            let bound = subjects
                .iter()
                .flat_map(|subject| bindings.get(subject).into_iter().flatten().map(move |binding| (subject, binding)));
            for (subject, binding) in bound {
                let text = binding.subjects.iter().find(|(listed, _)| listed == subject);
                let rules = index.role(&binding.role, &binding.namespace);
                let found = look(binding, text.map_or("", |(_, text)| text), rules);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write<R>(&self, change: impl FnOnce(&mut Index) -> R) -> R {
        change(&mut self.index.write().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Index {
    fn role(&self, reference: &RoleRef, namespace: &str) -> Option<&Arc<[PolicyRule]>> {
        let scope = if reference.kind == "Role" { namespace } else { "" };
        if reference.kind == "Role" && scope.is_empty() {
            return None;
        }
        self.roles.get(&(scope.to_owned(), reference.name.clone()))
    }

    fn add_binding(&mut self, key: Key, binding: Arc<Binding>) {
        let scope = self.by_subject.entry(key.0.clone()).or_default();
        for (subject, _) in &binding.subjects {
            let listed = scope.entry(subject.clone()).or_default();
            if !listed.iter().any(|other| Arc::ptr_eq(other, &binding)) {
                listed.push(binding.clone());
            }
        }
        self.bindings.insert(key, binding);
    }

    fn remove_binding(&mut self, key: &Key) {
        let Some(binding) = self.bindings.remove(key) else {
            return;
        };
        let Some(scope) = self.by_subject.get_mut(&key.0) else {
            return;
        };
        for (subject, _) in &binding.subjects {
            if let Some(listed) = scope.get_mut(subject) {
                listed.retain(|other| !Arc::ptr_eq(other, &binding));
                if listed.is_empty() {
                    scope.remove(subject);
                }
            }
        }
        if scope.is_empty() {
            self.by_subject.remove(&key.0);
        }
    }
}

impl Binding {
    fn of(object: &Object) -> Self {
        Self {
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            role: role_ref_of(object),
            subjects: object
                .list_at(&["subjects"])
                .iter()
                .filter_map(|subject| subject_of(subject, object.namespace()))
                .collect(),
        }
    }
}

/// Who is meant; an account without a namespace is one of the binding's.
fn subject_of(value: &Value, own: &str) -> Option<(Subject, String)> {
    let name = value.str("name");
    match value.str("kind") {
        "User" => Some((Subject::User(name.to_owned()), format!("User {name:?}"))),
        "Group" => Some((Subject::Group(name.to_owned()), format!("Group {name:?}"))),
        "ServiceAccount" if !(own.is_empty() && value.str("namespace").is_empty()) => {
            let namespace = Some(value.str("namespace")).filter(|given| !given.is_empty()).unwrap_or(own);
            let user = format!("system:serviceaccount:{namespace}:{name}");
            Some((Subject::User(user), format!("ServiceAccount \"{name}/{namespace}\"")))
        }
        _ => None,
    }
}

fn source(binding: &Binding, subject: &str) -> String {
    let role = &binding.role;
    if binding.namespace.is_empty() {
        format!("ClusterRoleBinding {:?} of {} {:?} to {subject}", binding.name, role.kind, role.name)
    } else {
        let name = format!("{}/{}", binding.name, binding.namespace);
        format!("RoleBinding {name:?} of {} {:?} to {subject}", role.kind, role.name)
    }
}

/// The rules of a role object; a malformed rule grants nothing.
pub fn rules_of(role: &Object) -> Vec<PolicyRule> {
    role.list_at(&["rules"]).iter().filter_map(|rule| apimachinery::value::to_typed(rule).ok()).collect()
}

/// What a binding object binds to.
pub fn role_ref_of(binding: &Object) -> RoleRef {
    binding.get("roleRef").and_then(|reference| apimachinery::value::to_typed(reference).ok()).unwrap_or_default()
}

/// The rules an aggregated cluster role should have: those of all other roles its selectors choose, each once, in the
/// order of the roles' names.
pub fn aggregate<'a>(
    role: &Object,
    others: impl IntoIterator<Item = &'a Object>,
    matches: impl Fn(&Value, &Object) -> bool,
) -> Vec<PolicyRule> {
    let selectors = role.list_at(&["aggregationRule", "clusterRoleSelectors"]);
    let mut chosen: Vec<&Object> = others
        .into_iter()
        .filter(|other| other.name() != role.name() && selectors.iter().any(|selector| matches(selector, other)))
        .collect();
    chosen.sort_by_key(|other| other.name());
    let mut rules: Vec<PolicyRule> = Vec::new();
    for rule in chosen.into_iter().flat_map(rules_of) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

#[cfg(test)]
mod tests;
