//! Claims for devices, templates of them, and the classes they name.

use crate::check::{self, Errors};
use crate::fill::{each, fill_number, fill_text, make, part, spec};
use crate::pod_spec::check_driver;
use crate::print::{AGE, NAME};
use crate::resource::{Action, Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};
use std::collections::HashSet;

/// The most requests, constraints, configurations and selectors, and the most alternatives of a request.
const MOST: usize = 32;
const MOST_ALTERNATIVES: usize = 8;
/// The most pods that share what a claim was given.
const MOST_USERS: usize = 256;

pub(super) const COLUMNS: &[Column] = &[NAME, AGE];

pub(super) const CLAIM_COLUMNS: &[Column] = &[NAME, Column::new("State", |claim, _| Value::from(state(claim))), AGE];

fn state(claim: &Object) -> String {
    let deleted = claim.deletion_timestamp().is_some();
    let allocated = claim.at(&["status", "allocation"]).is_some_and(|allocation| !allocation.is_null());
    let reserved = !claim.list_at(&["status", "reservedFor"]).is_empty();
    let states = [
        (deleted, "deleted"),
        (!allocated && !deleted, "pending"),
        (allocated, "allocated"),
        (allocated && reserved, "reserved"),
    ];
    states.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect::<Vec<_>>().join(",")
}

pub(super) const CLASS: Strategy = Strategy {
    validate: |class| {
        let mut errors = Errors::new();
        let spec = class.map_at(&["spec"]);
        check_selectors(&mut errors, &Path::new("spec"), spec);
        check_configurations(&mut errors, &Path::new("spec.config"), spec, None);
        errors
    },
    generation: true,
    ..NOOP
};

/// A claim is never changed once it is made, only what became of it.
pub(super) const CLAIM: Strategy = Strategy {
    default: |claim| fill_devices(spec(claim)),
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate: |claim| {
        let mut errors = Errors::new();
        check_spec(&mut errors, &Path::new("spec"), claim.map_at(&["spec"]));
        errors
    },
    validate_update: frozen,
    validate_part,
    ..NOOP
};

pub(super) const TEMPLATE: Strategy = Strategy {
    default: |template| fill_devices(make(spec(template), "spec")),
    validate: |template| {
        let mut errors = Errors::new();
        check_spec(&mut errors, &Path::new("spec.spec"), template.map_at(&["spec", "spec"]));
        errors
    },
    validate_update: frozen,
    ..NOOP
};

fn frozen(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    check::unchanged(&mut errors, &Path::new("spec"), new.get("spec"), old.get("spec"));
    errors
}

fn fill_devices(spec: &mut Map) {
    let Some(devices) = part(spec, "devices") else { return };
    for request in each(devices, "requests") {
        if let Some(exactly) = part(request, "exactly") {
            fill_request(exactly);
        }
        each(request, "firstAvailable").for_each(fill_request);
    }
}

fn fill_request(request: &mut Map) {
    fill_text(request, "allocationMode", "ExactCount");
    if request.str("allocationMode") == "ExactCount" {
        fill_number(request, "count", 1);
    }
    for toleration in each(request, "tolerations") {
        fill_text(toleration, "operator", "Equal");
    }
}

fn check_spec(errors: &mut Errors, path: &Path, spec: &Map) {
    let devices = check::part(spec, "devices");
    let path = path.child("devices");
    let mut names = HashSet::new();
    too_many(errors, &path, devices, "requests", MOST);
    for (index, request) in check::maps(devices, "requests") {
        let path = path.child("requests").index(index);
        let name = request.str("name");
        check::required_named(errors, &path.child("name"), name, names::dns1123_label);
        if !name.is_empty() && !names.insert(name.to_owned()) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        check_request(errors, &path, request, &mut names);
    }
    too_many(errors, &path, devices, "constraints", MOST);
    for (index, constraint) in check::maps(devices, "constraints") {
        let path = path.child("constraints").index(index);
        check_known(errors, &path.child("requests"), constraint, &names);
        if check::set(constraint, "matchAttribute") == check::set(constraint, "distinctAttribute") {
            errors.push(FieldError::required(path.child("matchAttribute"), ""));
        }
    }
    check_configurations(errors, &path.child("config"), devices, Some(&names));
}

fn check_request(errors: &mut Errors, path: &Path, request: &Map, names: &mut HashSet<String>) {
    let exactly = request.get("exactly").and_then(Value::as_map);
    let alternatives = check::list(request, "firstAvailable");
    match exactly {
        Some(_) if !alternatives.is_empty() => {
            let wrong = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(FieldError::invalid(path, Value::Map(request.clone()), wrong));
        }
        None if alternatives.is_empty() => {
            let wrong = "exactly one of `exactly` or `firstAvailable` is required";
            errors.push(FieldError::required(path, wrong));
        }
        _ => {}
    }
    if let Some(exactly) = exactly {
        check_wanted(errors, &path.child("exactly"), exactly);
    }
    too_many(errors, path, request, "firstAvailable", MOST_ALTERNATIVES);
    for (index, wanted) in check::maps(request, "firstAvailable") {
        let path = path.child("firstAvailable").index(index);
        let name = wanted.str("name");
        check::required_named(errors, &path.child("name"), name, names::dns1123_label);
        if !name.is_empty() && !names.insert(format!("{}/{name}", request.str("name"))) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        check_wanted(errors, &path, wanted);
    }
}

fn check_wanted(errors: &mut Errors, path: &Path, wanted: &Map) {
    let class = wanted.str("deviceClassName");
    check::required_named(errors, &path.child("deviceClassName"), class, names::dns1123_subdomain);
    check_selectors(errors, path, wanted);
    let count = check::number(wanted, "count").unwrap_or_default();
    let path = path.child("count");
    match wanted.str("allocationMode") {
        "All" if count != 0 => {
            let wrong = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(path, count, wrong));
        }
        "ExactCount" if count <= 0 => errors.push(FieldError::invalid(path, count, "must be greater than zero")),
        "All" | "ExactCount" => {}
        other => errors.push(FieldError::not_supported(path, other, &["All", "ExactCount"])),
    }
}

fn check_selectors(errors: &mut Errors, path: &Path, holder: &Map) {
    too_many(errors, path, holder, "selectors", MOST);
    for (index, selector) in check::maps(holder, "selectors") {
        let path = path.child("selectors").index(index).child("cel");
        match selector.get("cel").and_then(Value::as_map) {
            Some(cel) => check::required(errors, &path.child("expression"), cel.str("expression")),
            None => errors.push(FieldError::required(path, "")),
        }
    }
}

fn check_configurations(errors: &mut Errors, path: &Path, holder: &Map, known: Option<&HashSet<String>>) {
    if check::list(holder, "config").len() > MOST {
        errors.push(FieldError::too_many(path, check::list(holder, "config").len(), MOST));
    }
    for (index, configuration) in check::maps(holder, "config") {
        let path = path.index(index);
        if let Some(known) = known {
            check_known(errors, &path.child("requests"), configuration, known);
        }
        let at = path.child("opaque");
        match configuration.get("opaque").and_then(Value::as_map) {
            None => errors.push(FieldError::required(at, "")),
            Some(opaque) => {
                check::required(errors, &at.child("driver"), opaque.str("driver"));
                check_driver(errors, &at.child("driver"), opaque.str("driver"));
                if opaque.get("parameters").is_none_or(Value::is_null) {
                    errors.push(FieldError::required(at.child("parameters"), ""));
                }
            }
        }
    }
}

/// What is said about requests must be about requests there are.
fn check_known(errors: &mut Errors, path: &Path, holder: &Map, known: &HashSet<String>) {
    for (index, name) in check::texts(holder, "requests") {
        if !known.contains(name) {
            let wrong =
                "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
            errors.push(FieldError::invalid(path.index(index), name, wrong));
        }
    }
}

fn too_many(errors: &mut Errors, path: &Path, holder: &Map, key: &str, limit: usize) {
    let count = check::list(holder, key).len();
    if count > limit {
        errors.push(FieldError::too_many(path.child(key), count, limit));
    }
}

/// What was given to a claim stays while pods use it, and no pod uses it twice.
fn validate_part(_: Action, new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("status");
    let allocation = ["status", "allocation"];
    let given = old.at(&allocation).filter(|allocation| !allocation.is_null());
    let now = new.at(&allocation).filter(|allocation| !allocation.is_null());
    if given.is_some() && now.is_some() {
        check::unchanged(&mut errors, &path.child("allocation"), now, given);
    }
    let users = new.list_at(&["status", "reservedFor"]);
    if users.len() > MOST_USERS {
        errors.push(FieldError::too_many(path.child("reservedFor"), users.len(), MOST_USERS));
    }
    let mut seen = HashSet::new();
    for (index, user) in users.iter().enumerate() {
        let path = path.child("reservedFor").index(index);
        for key in ["resource", "name", "uid"] {
            check::required(&mut errors, &path.child(key), user.str(key));
        }
        if !seen.insert(user.str("uid")) {
            errors.push(FieldError::duplicate(path.child("uid"), user.str("uid")));
        }
    }
    if !users.is_empty() && now.is_none() {
        let wrong = "may not be specified when `allocated` is not set";
        errors.push(FieldError::forbidden(path.child("reservedFor"), wrong));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::tests::{cells, defaulted, errors, object, update_errors};
    use apimachinery::value;

    fn claim(requests: Value) -> Value {
        value!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": (requests)}}})
    }

    #[test]
    fn a_request_is_for_one_device_unless_it_says_otherwise() {
        let whole = defaulted(
            "resourceclaims",
            claim(
                value!([{"name": "a", "exactly": {"deviceClassName": "gpu"}}, {"name": "b", "exactly": {"allocationMode": "All"}}]),
            ),
        );
        let exactly = |index: &str| whole.at(&["spec", "devices", "requests", index, "exactly"]).cloned().unwrap();
        assert_eq!(exactly("0"), value!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}));
        assert_eq!(exactly("1"), value!({"allocationMode": "All"}));
    }

    #[test]
    fn claims_are_checked_and_never_change() {
        let check = |requests: Value, expected: &[&str]| {
            assert_eq!(errors("resourceclaims", claim(requests)), expected);
        };
        let good = || value!([{"name": "a", "exactly": {"deviceClassName": "gpu"}}]);
        check(good(), &[]);
        check(
            value!([{"name": "a"}, {"name": "a", "exactly": {"count": (-1)}}]),
            &[
                "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
                r#"spec.devices.requests[1].name: Duplicate value: "a""#,
                "spec.devices.requests[1].exactly.deviceClassName: Required value",
                "spec.devices.requests[1].exactly.count: Invalid value: -1: must be greater than zero",
            ],
        );
        let mut constrained = claim(good());
        constrained.set_at(&["spec", "devices", "constraints"], value!([{"requests": ["b"], "matchAttribute": "x/y"}]));
        assert_eq!(errors("resourceclaims", constrained.clone()).len(), 1);
        assert!(update_errors("resourceclaims", constrained, claim(good()))[0].ends_with("field is immutable"));
    }

    #[test]
    fn what_became_of_a_claim_is_printed_and_checked() {
        let with = |status: Value| {
            let mut one = claim(value!([]));
            one.set_at(&["status"], status);
            one
        };
        assert_eq!(cells("resourceclaims", with(value!({}))), "Name=c State=pending Age=<unknown>");
        let used = value!({"allocation": {}, "reservedFor": [{"resource": "pods", "name": "p", "uid": "1"}]});
        assert_eq!(cells("resourceclaims", with(used.clone())), "Name=c State=allocated,reserved Age=<unknown>");
        let step = |new: Value, old: Value| -> Vec<String> {
            let seen = validate_part(Action::Status, &object(with(new)), &object(with(old)));
            seen.iter().map(ToString::to_string).collect()
        };
        assert_eq!(step(used.clone(), value!({})), Vec::<String>::new());
        let twice = value!({"reservedFor": [{"resource": "pods", "name": "p", "uid": "1"}, {"resource": "pods", "name": "q", "uid": "1"}]});
        assert_eq!(
            step(twice, used),
            [
                r#"status.reservedFor[1].uid: Duplicate value: "1""#,
                "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
            ]
        );
    }
}
