//! Roles and bindings.

use crate::check::{self, Errors};
use crate::fill::{each, fill_text, make};
use crate::print::{AGE, CREATED_AT, NAME};
use crate::resource::{Column, NOOP, NameRule, Strategy};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};

/// The group of roles, users and groups.
const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) const ROLE: Strategy = Strategy {
    validate: |role| {
        let mut errors = Errors::new();
        let namespaced = role.kind() == "Role";
        for (index, rule) in check::maps(role.as_map(), "rules") {
            check_rule(&mut errors, &Path::new("rules").index(index), rule, namespaced);
        }
        errors
    },
    name: NameRule::PathSegment,
    create_on_update: true,
    ..NOOP
};

pub(super) const ROLE_COLUMNS: &[Column] = &[NAME, CREATED_AT];

pub(super) const BINDING: Strategy = Strategy {
    default: |binding| {
        let fields = binding.as_map_mut();
        fill_text(make(fields, "roleRef"), "apiGroup", GROUP);
        for subject in each(fields, "subjects") {
            if matches!(subject.str("kind"), "User" | "Group") {
                fill_text(subject, "apiGroup", GROUP);
            }
        }
    },
    validate: validate_binding,
    validate_update: |new, old| {
        let mut errors = Errors::new();
        if new.get("roleRef") != old.get("roleRef") {
            let now = new.get("roleRef").cloned().unwrap_or_default();
            errors.push(FieldError::invalid("roleRef", now, "cannot change roleRef"));
        }
        errors
    },
    name: NameRule::PathSegment,
    create_on_update: true,
    ..NOOP
};

pub(super) const BINDING_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Role", |binding, _| {
        let role = binding.map_at(&["roleRef"]);
        Value::from(format!("{}/{}", role.str("kind"), role.str("name")))
    }),
    AGE,
    Column::new("Users", |binding, _| subjects(binding, "User")).wide(),
    Column::new("Groups", |binding, _| subjects(binding, "Group")).wide(),
    Column::new("ServiceAccounts", |binding, _| subjects(binding, "ServiceAccount")).wide(),
];

fn subjects(binding: &Object, kind: &str) -> Value {
    let of_kind = binding.list_at(&["subjects"]).iter().filter(|one| one.str("kind") == kind);
    let names = of_kind.map(|one| match one.str("namespace") {
        "" => one.str("name").to_owned(),
        namespace => format!("{namespace}/{}", one.str("name")),
    });
    Value::from(names.collect::<Vec<_>>().join(", "))
}

fn check_rule(errors: &mut Errors, path: &Path, rule: &Map, namespaced: bool) {
    let list = |key| check::list(rule, key);
    if list("verbs").is_empty() {
        errors.push(FieldError::required(path.child("verbs"), "verbs must contain at least one value"));
    }
    if !list("nonResourceURLs").is_empty() {
        if namespaced {
            errors.push(FieldError::invalid(
                path.child("nonResourceURLs"),
                list("nonResourceURLs"),
                "namespaced rules cannot apply to non-resource URLs",
            ));
        }
        if ["apiGroups", "resources", "resourceNames"].iter().any(|key| !list(key).is_empty()) {
            errors.push(FieldError::invalid(
                path.child("nonResourceURLs"),
                list("nonResourceURLs"),
                "rules cannot apply to both regular resources and non-resource URLs",
            ));
        }
        return;
    }
    if list("apiGroups").is_empty() {
        let wrong = "resource rules must supply at least one api group";
        errors.push(FieldError::required(path.child("apiGroups"), wrong));
    }
    if list("resources").is_empty() {
        let wrong = "resource rules must supply at least one resource";
        errors.push(FieldError::required(path.child("resources"), wrong));
    }
}

fn validate_binding(binding: &Object) -> Errors {
    let mut errors = Errors::new();
    let role = binding.map_at(&["roleRef"]);
    let path = Path::new("roleRef");
    if role.str("apiGroup") != GROUP {
        errors.push(FieldError::not_supported(path.child("apiGroup"), role.str("apiGroup"), &[GROUP]));
    }
    let known: &[&str] =
        if binding.kind() == "ClusterRoleBinding" { &["ClusterRole"] } else { &["Role", "ClusterRole"] };
    if !known.contains(&role.str("kind")) {
        errors.push(FieldError::not_supported(path.child("kind"), role.str("kind"), known));
    }
    check::required(&mut errors, &path.child("name"), role.str("name"));
    for (index, subject) in check::maps(binding.as_map(), "subjects") {
        check_subject(&mut errors, &Path::new("subjects").index(index), subject, binding);
    }
    errors
}

fn check_subject(errors: &mut Errors, path: &Path, subject: &Map, binding: &Object) {
    check::required(errors, &path.child("name"), subject.str("name"));
    match subject.str("kind") {
        "ServiceAccount" => {
            if !subject.str("apiGroup").is_empty() {
                let group = subject.str("apiGroup");
                errors.push(FieldError::not_supported(path.child("apiGroup"), group, &[""]));
            }
            if !subject.str("name").is_empty() {
                check::named(errors, &path.child("name"), subject.str("name"), names::dns1123_subdomain);
            }
            // In a role binding it is that of the binding unless it is said.
            if subject.str("namespace").is_empty() && binding.kind() == "ClusterRoleBinding" {
                errors.push(FieldError::required(path.child("namespace"), ""));
            }
        }
        "User" | "Group" => {
            if subject.str("apiGroup") != GROUP {
                let group = subject.str("apiGroup");
                errors.push(FieldError::not_supported(path.child("apiGroup"), group, &[GROUP]));
            }
        }
        other => {
            errors.push(FieldError::not_supported(path.child("kind"), other, &["ServiceAccount", "User", "Group"]));
        }
    }
}
