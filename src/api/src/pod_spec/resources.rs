//! The rules for what containers request and are limited to.

use crate::check::{self, Errors};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::quantity::Quantity;
use apimachinery::value::{Map, Value};
use std::collections::HashSet;

/// A quantity in a tree; one that is none counts as nothing.
pub(crate) fn amount(value: &Value) -> Quantity {
    let text = match value {
        Value::String(text) => text.to_string(),
        other => other.to_string(),
    };
    text.parse().unwrap_or(Quantity::ZERO)
}

pub(super) fn check_resources(errors: &mut Errors, path: &Path, resources: &Map) {
    let limits = check::part(resources, "limits");
    let requests = check::part(resources, "requests");
    for (list, amounts) in [("limits", limits), ("requests", requests)] {
        for (name, value) in amounts.iter() {
            check_name(errors, &path.child(list).key(name), name);
            if amount(value).is_negative() {
                let path = path.child(list).key(name);
                errors.push(FieldError::invalid(path, value.clone(), check::NOT_NEGATIVE));
            }
        }
    }
    for (name, request) in requests.iter() {
        let path = path.child("requests");
        match limits.get(name) {
            Some(limit) if may_overcommit(name) && amount(request) > amount(limit) => {
                let wrong = format!("must be less than or equal to {} limit of {}", &**name, amount(limit));
                errors.push(FieldError::invalid(path, request.clone(), wrong));
            }
            Some(limit) if !may_overcommit(name) && amount(request) != amount(limit) => {
                let wrong = format!("must be equal to {} limit of {}", &**name, amount(limit));
                errors.push(FieldError::invalid(path, request.clone(), wrong));
            }
            None if !may_overcommit(name) => {
                let wrong = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(path.key(name), wrong));
            }
            _ => {}
        }
    }
}

/// CPU, memory and storage may be promised more than once; devices and huge pages may not.
fn may_overcommit(name: &str) -> bool {
    !name.starts_with("hugepages-") && (!name.contains('/') || name.contains("kubernetes.io/"))
}

/// A resource of containers is one of ours or has a domain.
fn check_name(errors: &mut Errors, path: &Path, name: &str) {
    check::named(errors, path, name, names::qualified_name);
    let standard = ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-");
    if !name.contains('/') && !standard {
        errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
    }
}

/// What a container uses of the pod's claims for devices.
pub(super) fn check_claims(errors: &mut Errors, path: &Path, resources: &Map, known: &[&str]) {
    let mut seen = HashSet::new();
    for (index, claim) in check::maps(resources, "claims") {
        let path = path.child("claims").index(index);
        let name = claim.str("name");
        if name.is_empty() {
            errors.push(FieldError::required(path.child("name"), ""));
        } else if !seen.insert((name, claim.str("request"))) {
            errors.push(FieldError::duplicate(&path, Value::Map(claim.clone())));
        } else if !known.contains(&name) {
            errors.push(FieldError::not_found(path.child("name"), name));
        }
    }
}

/// What is done to a container when its resources change.
pub(super) fn check_resize_policy(errors: &mut Errors, path: &Path, container: &Map) {
    let mut seen = HashSet::new();
    for (index, policy) in check::maps(container, "resizePolicy") {
        let path = path.child("resizePolicy").index(index);
        let name = policy.str("resourceName");
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        check::one_of(errors, &path.child("resourceName"), name, &["cpu", "memory"]);
        let restart = policy.str("restartPolicy");
        check::one_of(errors, &path.child("restartPolicy"), restart, &["NotRequired", "RestartContainer"]);
    }
}
