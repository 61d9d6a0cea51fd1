//! The scopes of quotas: which pods and claims a quota is about.

use apimachinery::selector::{LabelSelector, Operator, Requirement};
use apimachinery::{Object, Value};

use super::Meter;

/// The conditions of a quota: its scopes and the terms of its scope selector, in one form.
pub fn conditions(quota: &Object) -> Vec<Value> {
    let scopes = quota.list_at(&["spec", "scopes"]).iter();
    let plain = scopes.map(|scope| apimachinery::value!({"scopeName": (scope.clone()), "operator": "Exists"}));
    plain.chain(quota.list_at(&["spec", "scopeSelector", "matchExpressions"]).iter().cloned()).collect()
}

/// Whether an object is in a scope. Kinds that have no scopes are in none.
pub fn holds(meter: &Meter, condition: &Value, object: &Object) -> bool {
    let scope = condition.str("scopeName");
    if meter.is_volume_claim() {
        return scope == "VolumeAttributesClass" && has_class(condition, volume_classes(object));
    }
    if !meter.is_pod() {
        return false;
    }
    let ends = object.i64_at(&["spec", "activeDeadlineSeconds"]).is_some_and(|seconds| seconds >= 0);
    let best_effort = object.str_at(&["status", "qosClass"]) == "BestEffort";
    match scope {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "PriorityClass" => has_class(condition, vec![object.str_at(&["spec", "priorityClassName"])]),
        "CrossNamespacePodAffinity" => looks_at_other_namespaces(object),
        _ => false,
    }
}

/// The class a claim asks for, has, and is moving to.
fn volume_classes(claim: &Object) -> Vec<&str> {
    let paths: [&[&str]; 3] = [
        &["spec", "volumeAttributesClassName"],
        &["status", "currentVolumeAttributesClassName"],
        &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
    ];
    let mut classes: Vec<&str> = paths.iter().map(|path| claim.str_at(path)).filter(|name| !name.is_empty()).collect();
    if classes.is_empty() {
        classes.push("");
    }
    classes
}

fn has_class(condition: &Value, classes: Vec<&str>) -> bool {
    let values = condition.list("values").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let operator = match condition.str("operator") {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => Operator::Exists,
    };
    let Ok(requirement) = Requirement::new("class", operator, values) else { return false };
    let selector = LabelSelector::new(vec![requirement]);
    classes.into_iter().any(|class| {
        let mut labels = apimachinery::value::Map::new();
        if !class.is_empty() {
            labels.insert("class", class);
        }
        selector.matches(&labels)
    })
}

fn looks_at_other_namespaces(pod: &Object) -> bool {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let affinity = ["spec", "affinity", kind];
        let hard = pod.list_at(&[&affinity[..], &[required]].concat()).iter();
        let soft = pod.list_at(&[&affinity[..], &[preferred]].concat()).iter();
        hard.chain(soft.filter_map(|term| term.get("podAffinityTerm"))).any(|term| {
            !term.list("namespaces").is_empty() || term.get("namespaceSelector").is_some_and(|one| !one.is_null())
        })
    })
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    fn check(condition: &Value, pod: Value, expected: bool) {
        let row = crate::resources().iter().find(|row| row.plural == "pods").unwrap();
        let pod = Object::try_from(pod).unwrap();
        assert_eq!(holds(&Meter::of(row).unwrap(), condition, &pod), expected, "{condition} {pod:?}");
    }

    #[test]
    fn pods_are_told_apart_by_scopes() {
        let scope = |name: &str| value!({"scopeName": name, "operator": "Exists"});
        let deadline = || value!({"spec": {"activeDeadlineSeconds": 5}});
        check(&scope("Terminating"), deadline(), true);
        check(&scope("NotTerminating"), deadline(), false);
        check(&scope("BestEffort"), value!({"status": {"qosClass": "BestEffort"}}), true);
        check(&scope("NotBestEffort"), value!({"status": {"qosClass": "Burstable"}}), true);
        let near = |term: Value| value!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}});
        check(&scope("CrossNamespacePodAffinity"), near(value!({"topologyKey": "x"})), false);
        check(&scope("CrossNamespacePodAffinity"), near(value!({"namespaceSelector": {}})), true);
    }

    #[test]
    fn priority_classes_are_selected_by_name() {
        let named = |name: &str| value!({"spec": {"priorityClassName": name}});
        let high = value!({"scopeName": "PriorityClass", "operator": "In", "values": ["high"]});
        check(&high, named("high"), true);
        check(&high, named("low"), false);
        check(&high, value!({}), false);
        check(&value!({"scopeName": "PriorityClass", "operator": "DoesNotExist"}), value!({}), true);
        check(&value!({"scopeName": "PriorityClass", "operator": "Exists"}), value!({}), false);
        check(&value!({"scopeName": "PriorityClass", "operator": "NotIn", "values": ["high"]}), named("low"), true);
    }
}
