//! Nodes.

use crate::check::{self, Errors};
use crate::pod_spec::amount;
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::Value;
use std::collections::{BTreeSet, HashSet};

pub(super) const STRATEGY: Strategy = Strategy {
    default: |node| {
        // Whoever knows only one of the fields means both.
        let first = node.str_at(&["spec", "podCIDR"]).to_owned();
        let listed = node.list_at(&["spec", "podCIDRs"]).first().and_then(Value::as_str).unwrap_or_default().to_owned();
        if !first.is_empty() && listed.is_empty() {
            node.set_at(&["spec", "podCIDRs"], vec![Value::from(first)]);
        } else if first.is_empty() && !listed.is_empty() {
            node.set_at(&["spec", "podCIDR"], listed);
        }
    },
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate,
    validate_update,
    validate_part: |_, new, _| validate_status(new),
    ..NOOP
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Status", |node, _| Value::from(status_of(node))).about("The status of the node"),
    Column::new("Roles", |node, _| Value::from(roles(node))).about("The roles of the node"),
    AGE,
    Column::new("Version", |node, _| Value::from(node.str_at(&["status", "nodeInfo", "kubeletVersion"]))),
    Column::new("Internal-IP", |node, _| address(node, "InternalIP")).wide(),
    Column::new("External-IP", |node, _| address(node, "ExternalIP")).wide(),
    Column::new("OS-Image", |node, _| info(node, "osImage")).wide(),
    Column::new("Kernel-Version", |node, _| info(node, "kernelVersion")).wide(),
    Column::new("Container-Runtime", |node, _| info(node, "containerRuntimeVersion")).wide(),
];

fn status_of(node: &Object) -> String {
    let conditions = node.list_at(&["status", "conditions"]);
    let ready = conditions.iter().find(|one| one.str("type") == "Ready");
    let mut words = vec![match ready.map(|one| one.str("status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }];
    if node.bool_at(&["spec", "unschedulable"]) {
        words.push("SchedulingDisabled");
    }
    words.join(",")
}

fn roles(node: &Object) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in node.labels().strings() {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/") {
            roles.extend((!role.is_empty()).then_some(role));
        } else if key == "kubernetes.io/role" && !value.is_empty() {
            roles.insert(value);
        }
    }
    print::joined(roles)
}

fn address(node: &Object, kind: &str) -> Value {
    let addresses = node.list_at(&["status", "addresses"]);
    let found = addresses.iter().find(|one| one.str("type") == kind);
    Value::from(found.map_or(print::NONE, |one| one.str("address")))
}

fn info(node: &Object, field: &str) -> Value {
    Value::from(print::or(node.str_at(&["status", "nodeInfo", field]), print::UNKNOWN))
}

fn validate(node: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let mut seen = HashSet::new();
    for (index, taint) in node.list_at(&["spec", "taints"]).iter().enumerate() {
        let path = path.child("taints").index(index);
        let (key, effect) = (taint.str("key"), taint.str("effect"));
        check::named(&mut errors, &path.child("key"), key, names::qualified_name);
        check::named(&mut errors, &path.child("value"), taint.str("value"), names::label_value);
        let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        check::one_of(&mut errors, &path.child("effect"), effect, &known);
        if !seen.insert((key, effect)) {
            errors.push(FieldError::duplicate(&path, taint.clone()));
        }
    }
    let ranges = node.list_at(&["spec", "podCIDRs"]);
    for (index, range) in check::texts(node.map_at(&["spec"]), "podCIDRs") {
        check::cidr(&mut errors, &path.child("podCIDRs").index(index), range);
    }
    let families: HashSet<bool> = ranges.iter().filter_map(Value::as_str).map(|range| range.contains(':')).collect();
    if ranges.len() > 2 || (ranges.len() == 2 && families.len() < 2) {
        let wrong = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(path.child("podCIDRs"), Value::from(ranges), wrong));
    }
    errors
}

/// Checks what a kubelet reports.
fn validate_status(node: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("status");
    for key in ["capacity", "allocatable"] {
        for (name, value) in node.map_at(&["status", key]).iter() {
            if amount(value).is_negative() {
                errors.push(FieldError::invalid(path.child(key).key(name), value.clone(), check::NOT_NEGATIVE));
            }
        }
    }
    let mut seen = HashSet::new();
    for (index, address) in node.list_at(&["status", "addresses"]).iter().enumerate() {
        if !seen.insert((address.str("type"), address.str("address"))) {
            errors.push(FieldError::duplicate(path.child("addresses").index(index), address.clone()));
        }
    }
    errors
}

fn validate_update(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    for (key, wrong) in [
        ("podCIDRs", "node updates may not change podCIDR except from \"\" to valid"),
        ("providerID", "node updates may not change providerID except from \"\" to valid"),
    ] {
        let before = old.at(&["spec", key]).filter(|value| !value.is_empty());
        if before.is_some() && before != new.at(&["spec", key]) {
            errors.push(FieldError::forbidden(Path::new("spec").child(key), wrong));
        }
    }
    errors
}
