//! The rules for limit ranges and quotas: bounds in order, scopes that fit together and what they limit.

use crate::check::{self, Errors};
use crate::pod_spec::amount;
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};
use std::cmp::Ordering;
use std::collections::HashSet;

pub(super) fn validate_range(range: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec.limits");
    let mut seen = HashSet::new();
    for (index, limit) in check::maps(range.map_at(&["spec"]), "limits") {
        let path = path.index(index);
        let kind = limit.str("type");
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(path.child("type"), kind));
        }
        check_limit(&mut errors, &path, kind, limit);
    }
    errors
}

fn check_limit(errors: &mut Errors, path: &Path, kind: &str, limit: &Map) {
    check::named(errors, &path.child("type"), kind, names::qualified_name);
    if !kind.contains('/') && !["Container", "PersistentVolumeClaim", "Pod"].contains(&kind) {
        let wrong = "must be a standard limit type or fully qualified";
        errors.push(FieldError::invalid(path.child("type"), kind, wrong));
    }
    if kind == "Pod" {
        for key in ["default", "defaultRequest"] {
            if !check::part(limit, key).is_empty() {
                errors.push(FieldError::forbidden(path.child(key), "may not be specified when `type` is 'Pod'"));
            }
        }
    }
    if kind == "PersistentVolumeClaim" {
        let bounds = ["min", "max"].iter().any(|key| check::part(limit, key).contains_key("storage"));
        if !bounds {
            let wrong = "either minimum or maximum storage value is required, but neither was provided";
            errors.push(FieldError::required(path.child("limits"), wrong));
        }
    }
    // Each of these must not be more than what follows it.
    let order = [
        ("min", "min value"),
        ("defaultRequest", "default request value"),
        ("default", "default value"),
        ("max", "max value"),
    ];
    for (at, (low, low_word)) in order.iter().enumerate() {
        for (high, high_word) in &order[at + 1..] {
            let (lows, highs) = (check::part(limit, low), check::part(limit, high));
            for (name, least) in lows.iter() {
                let Some(most) = highs.get(name).filter(|most| amount(least) > amount(most)) else { continue };
                // The complaint is about what the author chose, not about the outer bound.
                let (field, value) = if *low == "min" && *high != "max" { (high, most) } else { (low, least) };
                let told = format!("{low_word} {} is greater than {high_word} {}", amount(least), amount(most));
                errors.push(FieldError::invalid(path.child(field).key(name), value.clone(), told));
            }
        }
    }
    let one: apimachinery::quantity::Quantity = "1".parse().unwrap_or_default();
    for (name, ratio) in check::part(limit, "maxLimitRequestRatio").iter() {
        if amount(ratio).cmp(&one) == Ordering::Less {
            let told = format!("ratio {} is less than 1", amount(ratio));
            errors.push(FieldError::invalid(path.child("maxLimitRequestRatio").key(name), ratio.clone(), told));
        }
    }
}

/// What a quota may limit without a domain.
const STANDARD: [&str; 18] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "storage",
];

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

pub(super) fn validate_quota(quota: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = quota.map_at(&["spec"]);
    check_amounts(&mut errors, &Path::new("spec.hard"), check::part(spec, "hard"));
    check_scopes(&mut errors, &Path::new("spec.scopes"), spec);
    check_selector(&mut errors, &Path::new("spec.scopeSelector.matchExpressions"), spec);
    errors
}

/// Checks the amounts a quota controller reports.
pub(super) fn validate_quota_status(quota: &Object) -> Errors {
    let mut errors = Errors::new();
    for key in ["hard", "used"] {
        check_amounts(&mut errors, &Path::new("status").child(key), quota.map_at(&["status", key]));
    }
    errors
}

fn check_amounts(errors: &mut Errors, path: &Path, amounts: &Map) {
    for (name, value) in amounts.iter() {
        let path = path.key(name);
        check::named(errors, &path, name, names::qualified_name);
        let prefixed = ["services.", "hugepages-", "requests.hugepages-"].iter().any(|prefix| name.starts_with(prefix));
        if !name.contains('/') && !STANDARD.contains(&name.as_str()) && !prefixed {
            errors.push(FieldError::invalid(&path, name.as_str(), "must be a standard resource for quota"));
        }
        let amount = amount(value);
        if amount.is_negative() {
            errors.push(FieldError::invalid(&path, value.clone(), check::NOT_NEGATIVE));
        }
        let counts =
            name.starts_with("count/") || matches!(name.as_str(), "pods" | "services" | "secrets" | "configmaps");
        if counts && amount.milli_value() % 1000 != 0 {
            errors.push(FieldError::invalid(&path, value.clone(), "must be an integer"));
        }
    }
}

/// Whether what a quota limits is something of the scope; what is no standard resource fits any.
fn fits(scope: &str, name: &str) -> bool {
    if !STANDARD.contains(&name) {
        return true;
    }
    let compute = ["cpu", "memory", "ephemeral-storage"];
    let plain = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    match scope {
        "BestEffort" | "CrossNamespacePodAffinity" => name == "pods",
        "VolumeAttributesClass" => name.ends_with("persistentvolumeclaims") || name.ends_with("requests.storage"),
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" => {
            name == "pods" || compute.contains(&plain)
        }
        _ => true,
    }
}

fn check_scopes(errors: &mut Errors, path: &Path, spec: &Map) {
    let scopes = check::list(spec, "scopes");
    let has = |scope: &str| scopes.iter().any(|one| one.as_str() == Some(scope));
    let mut wrong = |told: &str| errors.push(FieldError::invalid(path, Value::from(scopes), told));
    for (_, scope) in check::texts(spec, "scopes") {
        if !SCOPES.contains(&scope) {
            wrong("unsupported scope");
        } else if check::part(spec, "hard").keys().any(|name| !fits(scope, name)) {
            wrong("unsupported scope applied to resource");
        }
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if has(one) && has(other) {
            wrong("conflicting scopes");
        }
    }
}

fn check_selector(errors: &mut Errors, path: &Path, spec: &Map) {
    for (index, term) in check::maps(check::part(spec, "scopeSelector"), "matchExpressions") {
        let path = path.index(index);
        let (scope, operator) = (term.str("scopeName"), term.str("operator"));
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(path.child("scopeName"), scope, "unsupported scope"));
        } else if check::part(spec, "hard").keys().any(|name| !fits(scope, name)) {
            let told = "unsupported scope applied to resource";
            errors.push(FieldError::invalid(&path, Value::Map(term.clone()), told));
        }
        let takes_names = matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if !takes_names && operator != "Exists" {
            let told = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(FieldError::invalid(path.child("operator"), operator, told));
        }
        let values = check::list(term, "values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let told = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(path.child("values"), told));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let told = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(path.child("values"), Value::from(values), told));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(path.child("operator"), other, "not a valid selector operator")),
        }
    }
}

pub(super) fn validate_quota_update(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let scopes = |quota: &Object| -> Vec<String> {
        let mut scopes: Vec<String> =
            check::texts(quota.map_at(&["spec"]), "scopes").map(|(_, scope)| scope.to_owned()).collect();
        scopes.sort();
        scopes
    };
    if scopes(new) != scopes(old) {
        let given = Value::from(new.list_at(&["spec", "scopes"]));
        errors.push(FieldError::invalid("spec.scopes", given, check::IMMUTABLE));
    }
    errors
}

#[cfg(test)]
mod tests {
    use crate::groups::tests::{errors, update_errors};
    use apimachinery::value;
    use apimachinery::value::Value;

    #[test]
    fn bounds_of_a_range_are_in_order() {
        let check = |limit: Value, expected: &[&str]| {
            assert_eq!(errors("limitranges", value!({"spec": {"limits": [limit]}})), expected);
        };
        check(value!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}}), &[]);
        check(
            value!({"type": "Pod", "min": {"cpu": "3"}, "max": {"cpu": "2"}}),
            &[r#"spec.limits[0].min[cpu]: Invalid value: "3": min value 3 is greater than max value 2"#],
        );
        check(
            value!({"type": "Pod", "default": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "500m"}}),
            &[
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                r#"spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1"#,
            ],
        );
        check(
            value!({"type": "Image"}),
            &[r#"spec.limits[0].type: Invalid value: "Image": must be a standard limit type or fully qualified"#],
        );
        check(value!({"type": "example.com/Image"}), &[]);
        check(
            value!({"type": "PersistentVolumeClaim"}),
            &[
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
            ],
        );
    }

    #[test]
    fn scopes_fit_together_and_what_they_limit() {
        let check = |spec: Value, expected: &[&str]| {
            assert_eq!(errors("resourcequotas", value!({"spec": (spec)})), expected);
        };
        check(value!({"hard": {"pods": "1", "count/deployments.apps": "2", "requests.nvidia.com/gpu": "4"}}), &[]);
        check(value!({"hard": {"services.nodeports": "1", "hugepages-2Mi": "1Gi"}}), &[]);
        check(
            value!({"hard": {"cores": "1", "pods": "500m"}}),
            &[
                r#"spec.hard[cores]: Invalid value: "cores": must be a standard resource for quota"#,
                r#"spec.hard[pods]: Invalid value: "500m": must be an integer"#,
            ],
        );
        check(
            value!({"hard": {"pods": "1", "count/jobs.batch": "2", "services.nodeports": "1"}, "scopes": ["NotTerminating"]}),
            &[],
        );
        check(
            value!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}),
            &[r#"spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource"#],
        );
        check(
            value!({"scopes": ["Terminating", "NotTerminating"]}),
            &[r#"spec.scopes: Invalid value: ["Terminating","NotTerminating"]: conflicting scopes"#],
        );
        check(
            value!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}}),
            &[
                "spec.scopeSelector.matchExpressions[0].values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ],
        );
        let quota = |scope: &str| value!({"spec": {"scopes": [scope]}});
        assert_eq!(
            update_errors("resourcequotas", quota("Terminating"), quota("NotTerminating")),
            [r#"spec.scopes: Invalid value: ["Terminating"]: field is immutable"#]
        );
    }
}
