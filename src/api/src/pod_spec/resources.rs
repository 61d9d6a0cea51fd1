//! The rules for what containers request and are limited to.

use crate::check::{self, Errors};
use apimachinery::field::{FieldError, Path};
use apimachinery::quantity::Quantity;
use apimachinery::value::{Map, Value};

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
