use crate::groups::tests::{cells, defaulted, errors, row, update_errors};
use apimachinery::value;
use apimachinery::value::Value;

fn job(extra: Value) -> Value {
    let mut object = value!({"metadata": {"name": "j", "uid": "u-1", "creationTimestamp": "2026-01-01T23:00:00Z"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    if let Value::Map(extra) = extra {
        for (key, value) in extra {
            let path: Vec<&str> = key.split('.').collect();
            object.set_at(&path, value);
        }
    }
    object
}

#[test]
fn a_job_selects_its_own_pods() {
    let mut made = defaulted("jobs", job(value!({})));
    (row("jobs").strategy.prepare_create)(&mut made);
    assert_eq!(
        made.at(&["spec", "selector"]),
        Some(&value!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}))
    );
    let labels = made.map_at(&["spec", "template", "metadata", "labels"]);
    for (key, expected) in [
        ("batch.kubernetes.io/controller-uid", "u-1"),
        ("controller-uid", "u-1"),
        ("batch.kubernetes.io/job-name", "j"),
        ("job-name", "j"),
    ] {
        assert_eq!(labels.str(key), expected);
    }
    assert_eq!(made.labels(), labels, "a job without labels has those of its pods");
    let own = job(value!({"metadata.labels": {"mine": "1"}, "spec.template.metadata": {"labels": {"a": "b"}}}));
    assert_eq!(defaulted("jobs", own).metadata().get("labels"), Some(&value!({"mine": "1"})));
    made.remove_at(&["spec", "template"]);
    made.remove_at(&["spec", "selector"]);
    assert_eq!(
        made.get("spec"),
        Some(&value!({
            "completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
            "suspend": false, "manualSelector": false, "podReplacementPolicy": "TerminatingOrFailed",
        }))
    );
    let work_queue = defaulted("jobs", job(value!({"spec.parallelism": 3})));
    assert_eq!(work_queue.at(&["spec", "completions"]), None);
}

#[test]
fn jobs_are_checked_in_upstreams_words() {
    let check = |extra: Value, expected: &[&str]| assert_eq!(errors("jobs", job(extra)), expected);
    check(value!({}), &[]);
    check(
        value!({"spec.template.spec.restartPolicy": "Always"}),
        &[r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#],
    );
    check(
        value!({"spec.completions": (-1)}),
        &["spec.completions: Invalid value: -1: must be greater than or equal to 0"],
    );
    let old = job(value!({}));
    assert_eq!(
        update_errors("jobs", job(value!({"spec.parallelism": 4, "spec.completions": 1})), old.clone()),
        Vec::<String>::new()
    );
    assert_eq!(
        update_errors("jobs", job(value!({"spec.completions": 4})), old),
        ["spec.completions: Invalid value: 4: field is immutable"]
    );
}

#[test]
fn jobs_are_printed_as_kubectl_does() {
    let check = |extra: Value, expected: &str| {
        let all = cells("jobs", job(extra));
        assert_eq!(all.split(" [").next().unwrap(), expected);
    };
    check(
        value!({"spec.completions": 2, "status": {"succeeded": 1, "startTime": "2026-01-01T23:59:00Z"}}),
        "Name=j Status=Running Completions=1/2 Duration=60s Age=60m",
    );
    check(
        value!({"spec.completions": 1, "status": {"succeeded": 1, "startTime": "2026-01-01T23:00:00Z",
            "completionTime": "2026-01-01T23:00:07Z", "conditions": [{"type": "Complete", "status": "True"}]}}),
        "Name=j Status=Complete Completions=1/1 Duration=7s Age=60m",
    );
    check(value!({"spec.parallelism": 3}), "Name=j Status=Running Completions=0/1 of 3 Duration= Age=60m");
}

#[test]
fn cron_jobs_are_defaulted_checked_and_printed() {
    let cron = |schedule: &str| {
        value!({"metadata": {"name": "c"}, "spec": {"schedule": schedule, "jobTemplate": {"spec": {"template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}})
    };
    let whole = defaulted("cronjobs", cron("*/5 * * * *"));
    assert_eq!(whole.str_at(&["spec", "concurrencyPolicy"]), "Allow");
    assert_eq!(whole.i64_at(&["spec", "successfulJobsHistoryLimit"]), Some(3));
    assert_eq!(whole.i64_at(&["spec", "failedJobsHistoryLimit"]), Some(1));
    assert_eq!(
        cells("cronjobs", whole.into_value()).split(" [").next().unwrap(),
        "Name=c Schedule=*/5 * * * * Timezone=<none> Suspend=False Active=0 Last Schedule=<none> Age=<unknown>"
    );
    for good in ["@daily", "@every 1h", "0 0 1-5 * MON"] {
        assert_eq!(errors("cronjobs", cron(good)), Vec::<String>::new(), "{good}");
    }
    assert_eq!(errors("cronjobs", cron("")), ["spec.schedule: Required value"]);
    assert_eq!(errors("cronjobs", cron("* *")).len(), 1);
}
