//! The rules for where a pod may run: selectors, tolerations, affinity, spreading, gates.

use crate::check::{self, Errors};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::value::{Map, Value};
use std::collections::HashSet;

pub(super) fn check_scheduling(errors: &mut Errors, path: &Path, spec: &Map) {
    check::labels(errors, &path.child("nodeSelector"), check::part(spec, "nodeSelector"));
    for (index, toleration) in check::maps(spec, "tolerations") {
        check_toleration(errors, &path.child("tolerations").index(index), toleration);
    }
    let spread = path.child("topologySpreadConstraints");
    let mut seen = HashSet::new();
    for (index, constraint) in check::maps(spec, "topologySpreadConstraints") {
        check_spread(errors, &spread.index(index), constraint);
        let pair = (constraint.str("topologyKey"), constraint.str("whenUnsatisfiable"));
        if !seen.insert(pair) {
            let path = spread.index(index).child("{topologyKey, whenUnsatisfiable}");
            errors.push(FieldError::duplicate(path, format!("{{{}, {}}}", pair.0, pair.1)));
        }
    }
    let affinity = check::part(spec, "affinity");
    check_node_affinity(errors, &path.child("affinity"), check::part(affinity, "nodeAffinity"));
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = path.child("affinity").child(kind);
        check_pod_affinity(errors, &path, check::part(affinity, kind));
    }
    for (index, gate) in check::maps(spec, "schedulingGates") {
        let path = path.child("schedulingGates").index(index).child("name");
        check::named(errors, &path, gate.str("name"), names::qualified_name);
        if check::maps(spec, "schedulingGates").take(index).any(|(_, one)| one.str("name") == gate.str("name")) {
            errors.push(FieldError::duplicate(path, gate.str("name")));
        }
    }
    for (index, gate) in check::maps(spec, "readinessGates") {
        let path = path.child("readinessGates").index(index).child("conditionType");
        check::named(errors, &path, gate.str("conditionType"), names::qualified_name);
    }
}

/// One toleration, as pods and runtime classes have them.
pub(crate) fn check_toleration(errors: &mut Errors, path: &Path, toleration: &Map) {
    let (key, operator) = (toleration.str("key"), toleration.str("operator"));
    if !key.is_empty() {
        check::named(errors, &path.child("key"), key, names::qualified_name);
    } else if operator != "Exists" {
        errors.push(FieldError::invalid(
            path.child("operator"),
            operator,
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ));
    }
    match operator {
        "" | "Equal" => {
            let value = toleration.str("value");
            check::named(errors, &path.child("operator"), value, names::label_value);
        }
        "Exists" if !toleration.str("value").is_empty() => errors.push(FieldError::invalid(
            path.child("operator"),
            Value::Map(toleration.clone()),
            "value must be empty when `operator` is 'Exists'",
        )),
        "Exists" => {}
        other => errors.push(FieldError::not_supported(path.child("operator"), other, &["Equal", "Exists"])),
    }
    let effect = toleration.str("effect");
    let known = ["NoExecute", "NoSchedule", "PreferNoSchedule"];
    check::optional_one_of(errors, &path.child("effect"), effect, &known);
    if check::number(toleration, "tolerationSeconds").is_some() && effect != "NoExecute" {
        errors.push(FieldError::invalid(
            path.child("effect"),
            effect,
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        ));
    }
}

fn check_spread(errors: &mut Errors, path: &Path, constraint: &Map) {
    let skew = check::number(constraint, "maxSkew").unwrap_or_default();
    if skew <= 0 {
        errors.push(FieldError::invalid(path.child("maxSkew"), skew, "must be greater than zero"));
    }
    check::required_named(errors, &path.child("topologyKey"), constraint.str("topologyKey"), names::qualified_name);
    check::one_of(
        errors,
        &path.child("whenUnsatisfiable"),
        constraint.str("whenUnsatisfiable"),
        &["DoNotSchedule", "ScheduleAnyway"],
    );
    if let Some(selector) = constraint.get("labelSelector") {
        check::selector(errors, &path.child("labelSelector"), selector);
    } else if !check::list(constraint, "matchLabelKeys").is_empty() {
        let wrong = "must not be specified when labelSelector is not set";
        errors.push(FieldError::forbidden(path.child("matchLabelKeys"), wrong));
    }
    check::positive(errors, path, constraint, "minDomains");
    if let Some(least) = check::number(constraint, "minDomains")
        && constraint.str("whenUnsatisfiable") != "DoNotSchedule"
    {
        let wrong = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway";
        errors.push(FieldError::invalid(path.child("minDomains"), least, wrong));
    }
    for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        check::optional_one_of(errors, &path.child(key), constraint.str(key), &["Honor", "Ignore"]);
    }
}

fn check_node_affinity(errors: &mut Errors, path: &Path, affinity: &Map) {
    let path = path.child("nodeAffinity");
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    if let Some(wanted) = affinity.get(required).and_then(Value::as_map) {
        let path = path.child(required).child("nodeSelectorTerms");
        if check::list(wanted, "nodeSelectorTerms").is_empty() {
            errors.push(FieldError::required(&path, "must have at least one node selector term"));
        }
        for (index, term) in check::maps(wanted, "nodeSelectorTerms") {
            check_node_term(errors, &path.index(index), term);
        }
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (index, choice) in check::maps(affinity, preferred) {
        let path = path.child(preferred).index(index);
        check_weight(errors, &path, choice);
        check_node_term(errors, &path.child("preference"), check::part(choice, "preference"));
    }
}

fn check_weight(errors: &mut Errors, path: &Path, choice: &Map) {
    let weight = check::number(choice, "weight").unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(path.child("weight"), weight, "must be in the range 1-100"));
    }
}

/// One term of a node selector, as affinity and volumes use it.
pub(crate) fn check_node_term(errors: &mut Errors, path: &Path, term: &Map) {
    for list in ["matchExpressions", "matchFields"] {
        for (index, requirement) in check::maps(term, list) {
            let path = path.child(list).index(index);
            let values = check::list(requirement, "values");
            match requirement.str("operator") {
                "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                    path.child("values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                )),
                "In" | "NotIn" => {}
                "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
                    path.child("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                )),
                "Exists" | "DoesNotExist" => {}
                "Gt" | "Lt" if values.len() != 1 => errors.push(FieldError::required(
                    path.child("values"),
                    "must be specified single value when `operator` is 'Lt' or 'Gt'",
                )),
                "Gt" | "Lt" => {}
                other => {
                    errors.push(FieldError::invalid(path.child("operator"), other, "not a valid selector operator"));
                }
            }
            if list == "matchExpressions" {
                check::named(errors, &path.child("key"), requirement.str("key"), names::qualified_name);
            }
        }
    }
}

fn check_pod_affinity(errors: &mut Errors, path: &Path, affinity: &Map) {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    for (index, term) in check::maps(affinity, required) {
        check_pod_term(errors, &path.child(required).index(index), term);
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (index, choice) in check::maps(affinity, preferred) {
        let path = path.child(preferred).index(index);
        check_weight(errors, &path, choice);
        check_pod_term(errors, &path.child("podAffinityTerm"), check::part(choice, "podAffinityTerm"));
    }
}

fn check_pod_term(errors: &mut Errors, path: &Path, term: &Map) {
    for key in ["labelSelector", "namespaceSelector"] {
        if let Some(selector) = term.get(key) {
            check::selector(errors, &path.child(key), selector);
        }
    }
    let key = term.str("topologyKey");
    if key.is_empty() {
        errors.push(FieldError::required(path.child("topologyKey"), "can not be empty"));
    } else {
        check::named(errors, &path.child("topologyKey"), key, names::qualified_name);
    }
}
