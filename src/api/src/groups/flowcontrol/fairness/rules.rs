//! The rules for flow schemas and priority levels.

use crate::check::{self, Errors};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};

/// The most queues of a level.
const MOST_QUEUES: i64 = 10_000_000;

pub(super) fn validate_flow(flow: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = flow.map_at(&["spec"]);
    let precedence = check::number(spec, "matchingPrecedence").unwrap_or_default();
    if precedence == 1 && flow.name() != "exempt" {
        let wrong = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.push(FieldError::invalid(path.child("matchingPrecedence"), precedence, wrong));
    }
    if !(1..=10_000).contains(&precedence) {
        let wrong = "must be a value between 1 and 10000, inclusive";
        errors.push(FieldError::invalid(path.child("matchingPrecedence"), precedence, wrong));
    }
    if let Some(method) = spec.get("distinguisherMethod").and_then(Value::as_map) {
        let path = path.child("distinguisherMethod").child("type");
        check::one_of(&mut errors, &path, method.str("type"), &["ByNamespace", "ByUser"]);
    }
    let level = check::part(spec, "priorityLevelConfiguration").str("name");
    let at = path.child("priorityLevelConfiguration").child("name");
    if level.is_empty() {
        errors.push(FieldError::required(at, "must reference a priority level"));
    } else {
        check::named(&mut errors, &at, level, names::dns1123_subdomain);
    }
    for (index, rule) in check::maps(spec, "rules") {
        check_rule(&mut errors, &path.child("rules").index(index), rule);
    }
    errors
}

fn check_rule(errors: &mut Errors, path: &Path, rule: &Map) {
    if check::list(rule, "subjects").is_empty() {
        errors.push(FieldError::required(path.child("subjects"), "subjects must contain at least one value"));
    }
    for (index, subject) in check::maps(rule, "subjects") {
        check_subject(errors, &path.child("subjects").index(index), subject);
    }
    let (resources, urls) = (check::list(rule, "resourceRules"), check::list(rule, "nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        let wrong = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, wrong));
    }
    for (index, one) in check::maps(rule, "resourceRules") {
        let path = path.child("resourceRules").index(index);
        needs(errors, &path, one, "verbs", "verbs must contain at least one value");
        needs(errors, &path, one, "apiGroups", "resource rules must supply at least one api group");
        needs(errors, &path, one, "resources", "resource rules must supply at least one resource");
        let cluster = one.get("clusterScope") == Some(&Value::Bool(true));
        if check::list(one, "namespaces").is_empty() && !cluster {
            let wrong = "resource rules that are not cluster scoped must supply at least one namespace";
            errors.push(FieldError::required(path.child("namespaces"), wrong));
        }
    }
    for (index, one) in check::maps(rule, "nonResourceRules") {
        let path = path.child("nonResourceRules").index(index);
        needs(errors, &path, one, "verbs", "verbs must contain at least one value");
        needs(errors, &path, one, "nonResourceURLs", "nonResourceURLs must contain at least one value");
    }
}

fn needs(errors: &mut Errors, path: &Path, rule: &Map, key: &str, why: &str) {
    let values = check::list(rule, key);
    if values.is_empty() {
        errors.push(FieldError::required(path.child(key), why));
    }
    if values.len() > 1 && values.iter().any(|value| value.as_str() == Some("*")) {
        let wrong = format!("if '*' is present, must not specify other {key}");
        errors.push(FieldError::invalid(path.child(key), Value::from(values), wrong));
    }
}

fn check_subject(errors: &mut Errors, path: &Path, subject: &Map) {
    let kinds = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = subject.str("kind");
    check::one_of(errors, &path.child("kind"), kind, &kinds.map(|(kind, _)| kind));
    for (known, field) in kinds {
        let path = path.child(field);
        match subject.get(field).and_then(Value::as_map) {
            None if known == kind => {
                errors.push(FieldError::required(path, format!("{field} is required when subject kind is '{kind}'")));
            }
            Some(_) if known != kind => {
                let wrong = format!("{field} is forbidden when subject kind is not '{known}'");
                errors.push(FieldError::forbidden(path, wrong));
            }
            Some(named) => {
                check::required(errors, &path.child("name"), named.str("name"));
                if known == "ServiceAccount" {
                    check::required(errors, &path.child("namespace"), named.str("namespace"));
                }
            }
            None => {}
        }
    }
}

pub(super) fn validate_level(level: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = level.map_at(&["spec"]);
    let kind = spec.str("type");
    if level.name() == "exempt" && kind != "Exempt" {
        errors.push(FieldError::invalid(
            path.child("type"),
            kind,
            "must be 'Exempt' if and only if `name` is 'exempt'",
        ));
    }
    check::one_of(&mut errors, &path.child("type"), kind, &["Exempt", "Limited"]);
    let (limited, exempt) = (spec.get("limited").and_then(Value::as_map), spec.get("exempt").and_then(Value::as_map));
    match kind {
        "Exempt" if limited.is_some() => {
            errors.push(FieldError::forbidden(path.child("limited"), "must be nil if the type is not Limited"));
        }
        "Limited" if exempt.is_some() => {
            errors.push(FieldError::forbidden(path.child("exempt"), "must be nil if the type is Limited"));
        }
        "Limited" if limited.is_none() => {
            errors.push(FieldError::required(path.child("limited"), "must not be empty when type is Limited"));
        }
        _ => {}
    }
    for (key, part) in [("limited", limited), ("exempt", exempt)] {
        let Some(part) = part else { continue };
        let path = path.child(key);
        check::not_negative(&mut errors, &path, part, "nominalConcurrencyShares");
        if let Some(percent) = check::number(part, "lendablePercent") {
            check::between(&mut errors, &path.child("lendablePercent"), percent, (0, 100));
        }
        check::not_negative(&mut errors, &path, part, "borrowingLimitPercent");
    }
    if let Some(limited) = limited {
        check_response(
            &mut errors,
            &path.child("limited").child("limitResponse"),
            check::part(limited, "limitResponse"),
        );
    }
    errors
}

fn check_response(errors: &mut Errors, path: &Path, response: &Map) {
    let kind = response.str("type");
    check::one_of(errors, &path.child("type"), kind, &["Queue", "Reject"]);
    let path = path.child("queuing");
    let Some(queuing) = response.get("queuing").and_then(Value::as_map) else {
        if kind == "Queue" {
            errors.push(FieldError::required(path, "must not be empty if and only if `type` is 'Queue'"));
        }
        return;
    };
    if kind == "Reject" {
        errors.push(FieldError::forbidden(path, "must be nil if limited.limitResponse.type is not Limited"));
        return;
    }
    let number = |key: &str| check::number(queuing, key).unwrap_or_default();
    for key in ["queueLengthLimit", "queues", "handSize"] {
        if number(key) <= 0 {
            errors.push(FieldError::invalid(path.child(key), number(key), "must be positive"));
        }
    }
    if number("queues") > MOST_QUEUES {
        let wrong = format!("must not be greater than {MOST_QUEUES}");
        errors.push(FieldError::invalid(path.child("queues"), number("queues"), wrong));
    }
    if number("handSize") > number("queues") {
        let wrong = format!("should not be greater than queues ({})", number("queues"));
        errors.push(FieldError::invalid(path.child("handSize"), number("handSize"), wrong));
    }
}

#[cfg(test)]
mod tests {
    use crate::groups::tests::errors;
    use apimachinery::value;
    use apimachinery::value::Value;

    #[test]
    fn schemas_say_whom_and_what_they_match() {
        let check = |change: (&str, Value), expected: &[&str]| {
            let mut flow = value!({"metadata": {"name": "f"}, "spec": {"priorityLevelConfiguration": {"name": "l"}}});
            flow.set_at(&["spec", change.0], change.1);
            assert_eq!(errors("flowschemas", flow), expected);
        };
        let subject = || value!([{"kind": "User", "user": {"name": "u"}}]);
        check(
            (
                "rules",
                value!([{"subjects": (subject()), "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/x"]}]}]),
            ),
            &[],
        );
        check(
            (
                "rules",
                value!([{"subjects": [{"kind": "Group"}], "resourceRules": [{"verbs": ["*", "get"], "apiGroups": [""], "resources": ["pods"]}]}]),
            ),
            &[
                "spec.rules[0].subjects[0].group: Required value: group is required when subject kind is 'Group'",
                r#"spec.rules[0].resourceRules[0].verbs: Invalid value: ["*","get"]: if '*' is present, must not specify other verbs"#,
                "spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
            ],
        );
        check(
            ("matchingPrecedence", 1.into()),
            &[
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
            ],
        );
        check(
            ("priorityLevelConfiguration", value!({})),
            &["spec.priorityLevelConfiguration.name: Required value: must reference a priority level"],
        );
    }

    #[test]
    fn levels_are_limited_or_exempt() {
        let check = |spec: Value, expected: &[&str]| {
            assert_eq!(
                errors("prioritylevelconfigurations", value!({"metadata": {"name": "l"}, "spec": (spec)})),
                expected
            );
        };
        check(value!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}), &[]);
        check(value!({"type": "Limited"}), &["spec.limited: Required value: must not be empty when type is Limited"]);
        check(
            value!({"type": "Limited", "limited": {"lendablePercent": 101, "limitResponse": {"type": "Queue", "queuing": {"queues": 4}}}}),
            &[
                "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater than queues (4)",
            ],
        );
    }
}
