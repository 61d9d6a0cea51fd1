//! The rules for autoscalers: what they scale, by which metrics, and how fast.

use crate::check::{self, Errors};
use crate::pod_spec::amount;
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};

/// The kinds of metrics and the field each is described in.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];
/// The longest a decision may look back and a policy may last, in seconds.
const LONGEST_WINDOW: i64 = 3600;
const LONGEST_PERIOD: i64 = 1800;

pub(super) fn validate(hpa: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = hpa.map_at(&["spec"]);
    let (least, most) =
        (check::number(spec, "minReplicas").unwrap_or(1), check::number(spec, "maxReplicas").unwrap_or_default());
    if least < 1 {
        let wrong = "must be greater than or equal to 1";
        errors.push(FieldError::invalid(path.child("minReplicas"), least, wrong));
    }
    if most < 1 {
        errors.push(FieldError::invalid(path.child("maxReplicas"), most, "must be greater than 0"));
    }
    if most < least {
        let wrong = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(path.child("maxReplicas"), most, wrong));
    }
    check_reference(&mut errors, &path.child("scaleTargetRef"), check::part(spec, "scaleTargetRef"));
    for (index, metric) in check::maps(spec, "metrics") {
        check_metric(&mut errors, &path.child("metrics").index(index), metric);
    }
    for direction in ["scaleUp", "scaleDown"] {
        let behavior = check::part(spec, "behavior").get(direction).and_then(Value::as_map);
        if let Some(rules) = behavior {
            check_behavior(&mut errors, &path.child("behavior").child(direction), rules);
        }
    }
    errors
}

fn check_reference(errors: &mut Errors, path: &Path, reference: &Map) {
    for key in ["kind", "name"] {
        check::required_named(errors, &path.child(key), reference.str(key), names::path_segment);
    }
}

fn check_metric(errors: &mut Errors, path: &Path, metric: &Map) {
    let kind = metric.str("type");
    if kind.is_empty() {
        errors.push(FieldError::required(path.child("type"), "must specify a metric source type"));
    } else {
        check::one_of(errors, &path.child("type"), kind, &SOURCES.map(|(kind, _)| kind));
    }
    for (source, field) in SOURCES {
        let described = metric.get(field).and_then(Value::as_map);
        match described {
            None if source == kind => {
                let wrong = "must populate information for the given metric source";
                errors.push(FieldError::required(path.child(field), wrong));
            }
            Some(_) if source != kind && !kind.is_empty() => {
                errors.push(FieldError::forbidden(path.child(field), "must populate the given metric source only"));
            }
            Some(described) => check_source(errors, &path.child(field), source, described),
            None => {}
        }
    }
}

fn check_source(errors: &mut Errors, path: &Path, kind: &str, source: &Map) {
    match kind {
        "Resource" | "ContainerResource" => {
            if kind == "ContainerResource" && source.str("container").is_empty() {
                errors.push(FieldError::required(path.child("container"), "must specify a container"));
            }
            if source.str("name").is_empty() {
                errors.push(FieldError::required(path.child("name"), "must specify a resource name"));
            }
        }
        _ => {
            let metric = check::part(source, "metric");
            let path = path.child("metric");
            if metric.str("name").is_empty() {
                errors.push(FieldError::required(path.child("name"), "must specify a metric name"));
            } else {
                check::named(errors, &path.child("name"), metric.str("name"), names::path_segment);
            }
            if let Some(selector) = metric.get("selector").filter(|selector| !selector.is_null()) {
                check::selector(errors, &path.child("selector"), selector);
            }
        }
    }
    if kind == "Object" {
        check_reference(errors, &path.child("describedObject"), check::part(source, "describedObject"));
    }
    check_target(errors, &path.child("target"), kind, check::part(source, "target"));
}

fn check_target(errors: &mut Errors, path: &Path, kind: &str, target: &Map) {
    let type_of = target.str("type");
    if type_of.is_empty() {
        errors.push(FieldError::required(path.child("type"), "must specify a metric target type"));
    } else if !["AverageValue", "Utilization", "Value"].contains(&type_of) {
        let wrong = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(path.child("type"), type_of, wrong));
    }
    for key in ["value", "averageValue"] {
        let given = target.get(key).filter(|given| !given.is_null());
        if let Some(given) = given.filter(|given| amount(given).is_negative() || amount(given).is_zero()) {
            errors.push(FieldError::invalid(path.child(key), given.clone(), "must be positive"));
        }
    }
    if let Some(percent) = check::number(target, "averageUtilization").filter(|percent| *percent < 1) {
        errors.push(FieldError::invalid(path.child("averageUtilization"), percent, "must be greater than 0"));
    }
    let has = |key: &str| check::set(target, key);
    let mut required = |key: &str, why: &str| errors.push(FieldError::required(path.child(key), why));
    match kind {
        "Pods" if !has("averageValue") => required("averageValue", "must specify a positive target averageValue"),
        "Object" if !has("value") && !has("averageValue") => {
            required("averageValue", "must set either a target value or averageValue");
        }
        "External" if !has("value") && !has("averageValue") => {
            required("averageValue", "must set either a target value for metric or a per-pod target");
        }
        "External" if has("value") && has("averageValue") => {
            let wrong = "may not set both a target value for metric and a per-pod target";
            errors.push(FieldError::forbidden(path.child("value"), wrong));
        }
        "Resource" | "ContainerResource" if !has("averageUtilization") && !has("averageValue") => {
            required("averageUtilization", "must set either a target raw value or a target utilization");
        }
        "Resource" | "ContainerResource" if has("averageUtilization") && has("averageValue") => {
            let wrong = "may not set both a target raw value and a target utilization";
            errors.push(FieldError::forbidden(path.child("averageValue"), wrong));
        }
        _ => {}
    }
}

fn check_behavior(errors: &mut Errors, path: &Path, rules: &Map) {
    let window = path.child("stabilizationWindowSeconds");
    match check::number(rules, "stabilizationWindowSeconds") {
        Some(seconds) if seconds < 0 => {
            errors.push(FieldError::invalid(window, seconds, "must be greater than or equal to zero"));
        }
        Some(seconds) if seconds > LONGEST_WINDOW => {
            let wrong = format!("must be less than or equal to {LONGEST_WINDOW}");
            errors.push(FieldError::invalid(window, seconds, wrong));
        }
        _ => {}
    }
    let select = rules.str("selectPolicy");
    check::optional_one_of(errors, &path.child("selectPolicy"), select, &["Disabled", "Max", "Min"]);
    if let Some(tolerance) = rules.get("tolerance").filter(|tolerance| !tolerance.is_null())
        && amount(tolerance).is_negative()
    {
        let wrong = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(path.child("tolerance"), tolerance.clone(), wrong));
    }
    if check::list(rules, "policies").is_empty() {
        errors.push(FieldError::required(path.child("policies"), "must specify at least one Policy"));
    }
    for (index, policy) in check::maps(rules, "policies") {
        let path = path.child("policies").index(index);
        check::one_of(errors, &path.child("type"), policy.str("type"), &["Percent", "Pods"]);
        for key in ["value", "periodSeconds"] {
            let number = check::number(policy, key).unwrap_or_default();
            if number <= 0 {
                errors.push(FieldError::invalid(path.child(key), number, "must be greater than zero"));
            }
            if key == "periodSeconds" && number > LONGEST_PERIOD {
                let wrong = format!("must be less than or equal to {LONGEST_PERIOD}");
                errors.push(FieldError::invalid(path.child(key), number, wrong));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::groups::tests::errors;
    use apimachinery::value;
    use apimachinery::value::Value;

    fn check(change: (&str, Value), expected: &[&str]) {
        let mut hpa = value!({"spec": {"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}});
        hpa.set_at(&["spec", change.0], change.1);
        assert_eq!(errors("horizontalpodautoscalers", hpa), expected);
    }

    #[test]
    fn metrics_say_what_they_aim_at() {
        let metrics = |metric: Value| ("metrics", value!([metric]));
        check(
            metrics(
                value!({"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": {"type": "AverageValue", "averageValue": "10"}}}),
            ),
            &[],
        );
        check(
            metrics(value!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}})),
            &[
                "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
            ],
        );
        check(
            metrics(value!({"type": "Object", "pods": {}})),
            &[
                "spec.metrics[0].object: Required value: must populate information for the given metric source",
                "spec.metrics[0].pods: Forbidden: must populate the given metric source only",
            ],
        );
        check(
            metrics(
                value!({"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "X", "value": "0", "averageValue": "1"}}}),
            ),
            &[
                r#"spec.metrics[0].external.target.type: Invalid value: "X": must be either Utilization, Value, or AverageValue"#,
                r#"spec.metrics[0].external.target.value: Invalid value: "0": must be positive"#,
                "spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target",
            ],
        );
        check(metrics(value!({})), &["spec.metrics[0].type: Required value: must specify a metric source type"]);
    }

    #[test]
    fn behavior_has_bounds() {
        check(("behavior", value!({"scaleUp": {}, "scaleDown": {"selectPolicy": "Disabled"}})), &[]);
        check(
            (
                "behavior",
                value!({"scaleDown": {"stabilizationWindowSeconds": 4000, "policies": [{"type": "Pods", "value": 0, "periodSeconds": 2000}]}}),
            ),
            &[
                "spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600",
                "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
                "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 2000: must be less than or equal to 1800",
            ],
        );
    }
}
