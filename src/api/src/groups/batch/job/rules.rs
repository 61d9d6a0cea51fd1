//! The rules for jobs: how they complete, what their failures mean, and what of them may change.

use crate::check::{self, Errors};
use crate::pod_spec;
use apimachinery::field::{FieldError, Path};
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};

/// The most rules of a policy, and the most exit codes of a rule.
const MOST_RULES: usize = 20;
const MOST_CODES: usize = 255;

pub(super) fn check_job(errors: &mut Errors, path: &Path, spec: &Map) {
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        check::not_negative(errors, path, spec, key);
    }
    let mode = spec.str("completionMode");
    let known = ["Indexed", "NonIndexed"];
    check::optional_one_of(errors, &path.child("completionMode"), mode, &known);
    if mode == "Indexed" && !check::set(spec, "completions") {
        let wrong = "when completion mode is Indexed";
        errors.push(FieldError::required(path.child("completions"), wrong));
    }
    check_indexes(errors, path, spec, mode == "Indexed");
    check_policy(errors, &path.child("podFailurePolicy"), spec);
    check_success(errors, &path.child("successPolicy"), spec, mode == "Indexed");
    let replacement = spec.str("podReplacementPolicy");
    let failed_only = check::set(spec, "podFailurePolicy");
    let known: &[&str] = if failed_only { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    check::optional_one_of(errors, &path.child("podReplacementPolicy"), replacement, known);
    let path = path.child("template");
    let template = check::part(spec, "template");
    pod_spec::check_template(errors, &path, template, spec.get("selector"));
    let policy = check::part(template, "spec").str("restartPolicy");
    let path = path.child("spec").child("restartPolicy");
    if !["OnFailure", "Never"].contains(&policy) {
        errors.push(if policy == "Always" {
            FieldError::required(path, "valid values: \"OnFailure\", \"Never\"")
        } else {
            FieldError::not_supported(path, policy, &["OnFailure", "Never"])
        });
    } else if failed_only && policy != "Never" {
        let wrong = "only \"Never\" is supported when podFailurePolicy is specified";
        errors.push(FieldError::invalid(path, policy, wrong));
    }
}

fn check_indexes(errors: &mut Errors, path: &Path, spec: &Map, indexed: bool) {
    if let Some(limit) = check::number(spec, "backoffLimitPerIndex").filter(|_| !indexed) {
        let wrong = "requires indexed completion mode";
        errors.push(FieldError::invalid(path.child("backoffLimitPerIndex"), limit, wrong));
    }
    let Some(most) = check::number(spec, "maxFailedIndexes") else { return };
    if !check::set(spec, "backoffLimitPerIndex") {
        let wrong = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(path.child("backoffLimitPerIndex"), wrong));
    }
    if check::number(spec, "completions").is_some_and(|completions| most > completions) {
        let wrong = "must be less than or equal to completions";
        errors.push(FieldError::invalid(path.child("maxFailedIndexes"), most, wrong));
    }
}

fn check_policy(errors: &mut Errors, path: &Path, spec: &Map) {
    let Some(policy) = spec.get("podFailurePolicy").and_then(Value::as_map) else { return };
    let path = path.child("rules");
    let rules = check::list(policy, "rules").len();
    if rules > MOST_RULES {
        errors.push(FieldError::too_many(&path, rules, MOST_RULES));
    }
    for (index, rule) in check::maps(policy, "rules") {
        let path = path.index(index);
        let action = rule.str("action");
        check::one_of(errors, &path.child("action"), action, &["Count", "FailIndex", "FailJob", "Ignore"]);
        if action == "FailIndex" && !check::set(spec, "backoffLimitPerIndex") {
            let wrong = "requires the backoffLimitPerIndex to be set";
            errors.push(FieldError::invalid(path.child("action"), action, wrong));
        }
        let codes = rule.get("onExitCodes").and_then(Value::as_map);
        let conditions = check::list(rule, "onPodConditions");
        match codes {
            Some(_) if !conditions.is_empty() => {
                let wrong = "specifying both OnExitCodes and OnPodConditions is not supported";
                errors.push(FieldError::invalid(&path, Value::Map(rule.clone()), wrong));
            }
            Some(codes) => check_codes(errors, &path.child("onExitCodes"), codes, spec),
            None if conditions.is_empty() => {
                let wrong = "specifying one of OnExitCodes and OnPodConditions is required";
                errors.push(FieldError::invalid(&path, Value::Map(rule.clone()), wrong));
            }
            None => check_conditions(errors, &path.child("onPodConditions"), rule),
        }
    }
}

fn check_codes(errors: &mut Errors, path: &Path, codes: &Map, spec: &Map) {
    let operator = codes.str("operator");
    check::one_of(errors, &path.child("operator"), operator, &["In", "NotIn"]);
    let name = codes.str("containerName");
    let pod = check::part(check::part(spec, "template"), "spec");
    let known = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| check::maps(pod, list))
        .any(|(_, one)| one.str("name") == name);
    if check::set(codes, "containerName") && !known {
        let wrong = "must be one of the container or initContainer names in the pod template";
        errors.push(FieldError::invalid(path.child("containerName"), name, wrong));
    }
    let path = path.child("values");
    let values = check::list(codes, "values");
    if values.is_empty() {
        errors.push(FieldError::invalid(&path, Value::from(values), "at least one value is required"));
    }
    if values.len() > MOST_CODES {
        errors.push(FieldError::too_many(&path, values.len(), MOST_CODES));
    }
    let mut sorted = true;
    for (index, code) in values.iter().filter_map(Value::as_i64).enumerate() {
        if operator == "In" && code == 0 {
            errors.push(FieldError::invalid(path.index(index), code, "must not be 0 for the In operator"));
        }
        if values[..index].contains(&Value::Int(code)) {
            errors.push(FieldError::duplicate(path.index(index), code));
        }
        sorted &= values[..index].iter().filter_map(Value::as_i64).all(|earlier| earlier <= code);
    }
    if !sorted {
        errors.push(FieldError::invalid(&path, Value::from(values), "must be ordered"));
    }
}

fn check_conditions(errors: &mut Errors, path: &Path, rule: &Map) {
    let count = check::list(rule, "onPodConditions").len();
    if count > MOST_RULES {
        errors.push(FieldError::too_many(path, count, MOST_RULES));
    }
    for (index, pattern) in check::maps(rule, "onPodConditions") {
        let path = path.index(index);
        let kind = pattern.str("type");
        check::named(errors, &path.child("type"), kind, apimachinery::names::qualified_name);
        check::one_of(errors, &path.child("status"), pattern.str("status"), &["False", "True", "Unknown"]);
    }
}

fn check_success(errors: &mut Errors, path: &Path, spec: &Map, indexed: bool) {
    let Some(policy) = spec.get("successPolicy").and_then(Value::as_map) else { return };
    if !indexed {
        let wrong = "requires indexed completion mode";
        errors.push(FieldError::invalid(path, Value::Map(policy.clone()), wrong));
        return;
    }
    let path = path.child("rules");
    let rules = check::list(policy, "rules").len();
    if rules == 0 {
        let wrong = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(&path, wrong));
    } else if rules > MOST_RULES {
        errors.push(FieldError::too_many(&path, rules, MOST_RULES));
    }
    let completions = check::number(spec, "completions").unwrap_or_default();
    for (index, rule) in check::maps(policy, "rules") {
        let path = path.index(index);
        let (count, ranges) = (check::number(rule, "succeededCount"), rule.str("succeededIndexes"));
        if count.is_none() && !check::set(rule, "succeededIndexes") {
            let wrong = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(FieldError::required(&path, wrong));
        }
        check::not_negative(errors, &path, rule, "succeededCount");
        if let Some(count) = count.filter(|count| *count > completions) {
            let wrong = format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.push(FieldError::invalid(path.child("succeededCount"), count, wrong));
        }
        if check::set(rule, "succeededIndexes")
            && let Err(wrong) = check_intervals(ranges, completions)
        {
            errors.push(FieldError::invalid(path.child("succeededIndexes"), ranges, wrong));
        }
    }
}

/// `1,3-5,7`: rising, and below the number of completions.
fn check_intervals(text: &str, completions: i64) -> Result<(), String> {
    let number = |part: &str| {
        let number =
            part.parse::<i64>().map_err(|_| format!("cannot convert string to integer for index: {part:?}"))?;
        if number >= completions { Err(format!("too large index: {part:?}")) } else { Ok(number) }
    };
    let mut last = -1;
    for part in text.split(',') {
        let (low, high) = match part.split_once('-') {
            Some((low, high)) => (number(low)?, number(high)?),
            None => (number(part)?, number(part)?),
        };
        if low <= last || high < low || (part.contains('-') && low == high) {
            return Err(format!("non-increasing order, previous: {last}, current: {low}"));
        }
        last = high;
    }
    Ok(())
}

/// What of the template may change while the job has not begun: where its pods go.
fn steered(template: Option<&Value>) -> Value {
    let mut template = template.cloned().unwrap_or_default();
    for path in [
        ["metadata", "annotations"],
        ["metadata", "labels"],
        ["spec", "affinity"],
        ["spec", "nodeSelector"],
        ["spec", "schedulingGates"],
        ["spec", "tolerations"],
    ] {
        template.remove_at(&path);
    }
    if template.get("metadata").is_some_and(Value::is_empty) {
        template.remove_at(&["metadata"]);
    }
    template
}

pub(super) fn validate_update(new_job: &Object, old_job: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let (new, old) = (new_job.map_at(&["spec"]), old_job.map_at(&["spec"]));
    // Only indexed jobs may be resized, and only both numbers together.
    let elastic = new.str("completionMode") == "Indexed" && new.get("completions") == new.get("parallelism");
    if !elastic {
        check::unchanged(&mut errors, &path.child("completions"), new.get("completions"), old.get("completions"));
    }
    let unbegun = old.get("suspend") == Some(&Value::Bool(true)) && old_job.at(&["status", "startTime"]).is_none();
    let free = unbegun && steered(new.get("template")) == steered(old.get("template"));
    if !free {
        check::unchanged(&mut errors, &path.child("template"), new.get("template"), old.get("template"));
    }
    for key in ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        check::unchanged(&mut errors, &path.child(key), new.get(key), old.get(key));
    }
    errors
}

#[cfg(test)]
mod tests {
    use crate::groups::tests::{errors, update_errors};
    use apimachinery::value;
    use apimachinery::value::Value;

    fn job(extra: &[(&str, Value)]) -> Value {
        let mut job = value!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
        for (path, value) in extra {
            let path: Vec<&str> = path.split('/').collect();
            job.set_at(&path, value.clone());
        }
        job
    }

    fn check(extra: &[(&str, Value)], expected: &[&str]) {
        assert_eq!(errors("jobs", job(extra)), expected);
    }

    #[test]
    fn what_failures_mean_is_checked() {
        let rule = |rule: Value| value!({"rules": [rule]});
        let policy = |value: Value| ("spec/podFailurePolicy", value);
        let codes = value!({"operator": "In", "values": [1, 42], "containerName": "c"});
        check(&[policy(rule(value!({"action": "FailJob", "onExitCodes": (codes)})))], &[]);
        check(
            &[policy(rule(
                value!({"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [3, 0, 3], "containerName": "x"}}),
            ))],
            &[
                r#"spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set"#,
                r#"spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template"#,
                "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3",
                "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,0,3]: must be ordered",
            ],
        );
        check(
            &[policy(rule(
                value!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "Maybe"}]}),
            ))],
            &[
                r#"spec.podFailurePolicy.rules[0].onPodConditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown""#,
            ],
        );
        let restarting = ("spec/template/spec/restartPolicy", "OnFailure".into());
        check(
            &[policy(value!({"rules": []})), restarting],
            &[
                r#"spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified"#,
            ],
        );
    }

    #[test]
    fn indexes_are_only_for_indexed_jobs() {
        let indexed = || [("spec/completionMode", "Indexed".into()), ("spec/completions", 3.into())];
        check(
            &[("spec/completionMode", "Indexed".into()), ("spec/parallelism", 2.into())],
            &["spec.completions: Required value: when completion mode is Indexed"],
        );
        check(
            &[("spec/backoffLimitPerIndex", 1.into())],
            &["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
        );
        let with = |more: (&'static str, Value)| [&indexed()[..], &[more]].concat();
        check(
            &with(("spec/maxFailedIndexes", 5.into())),
            &[
                "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
                "spec.maxFailedIndexes: Invalid value: 5: must be less than or equal to completions",
            ],
        );
        let success = |rule: Value| ("spec/successPolicy", value!({"rules": [rule]}));
        check(&with(success(value!({"succeededIndexes": "0,1-2", "succeededCount": 1}))), &[]);
        check(
            &with(success(value!({"succeededIndexes": "2,1"}))),
            &[
                r#"spec.successPolicy.rules[0].succeededIndexes: Invalid value: "2,1": non-increasing order, previous: 2, current: 1"#,
            ],
        );
        check(
            &with(success(value!({"succeededCount": 4}))),
            &[
                "spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified completions)",
            ],
        );
    }

    #[test]
    fn a_job_that_has_not_begun_may_be_steered_elsewhere() {
        let moved = ("spec/template/spec/nodeSelector", value!({"zone": "b"}));
        let suspended = ("spec/suspend", Value::from(true));
        let check = |new: &[(&str, Value)], old: &[(&str, Value)], expected: usize| {
            assert_eq!(update_errors("jobs", job(new), job(old)).len(), expected);
        };
        check(&[moved.clone(), suspended.clone()], std::slice::from_ref(&suspended), 0);
        check(std::slice::from_ref(&moved), &[], 1);
        let begun = ("status/startTime", Value::from("2026-01-01T00:00:00Z"));
        check(&[moved, suspended.clone()], &[suspended.clone(), begun], 1);
        let other = ("spec/template/spec/containers/0/image", Value::from("x"));
        check(&[other, suspended.clone()], &[suspended], 1);
    }
}
