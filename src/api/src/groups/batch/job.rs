//! Jobs and cron jobs.

mod rules;

use super::schedule;
use crate::check::{self, Errors};
use crate::fill::{fill, fill_text, make, part, spec};
use crate::pod_spec;
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, SELECTOR};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::time;
use apimachinery::value::{Map, Value};
use jiff::Timestamp;

/// The labels of a job's pods, in the old and the new form.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

const POD_LABELS: [&str; 4] = ["spec", "template", "metadata", "labels"];

pub(super) const JOB: Strategy = Strategy {
    default: default_job,
    prepare_create: |job| {
        status::drop_status(job);
        select_own_pods(job);
    },
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate: |job| {
        let mut errors = Errors::new();
        let spec = job.map_at(&["spec"]);
        rules::check_job(&mut errors, &Path::new("spec"), spec);
        if spec.get("selector").is_none_or(Value::is_empty) {
            errors.push(FieldError::required("spec.selector", ""));
        }
        errors
    },
    validate_update: rules::validate_update,
    warnings: pod_spec::warn_of_template,
    generation: true,
    ..NOOP
};

pub(super) const JOB_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Status", |job, _| Value::from(status_of(job))),
    Column::new("Completions", |job, _| Value::from(completions(job))),
    Column::new("Duration", |job, now| Value::from(run_time(job, now))),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn default_job(job: &mut Object) {
    let spec = spec(job);
    if !set(spec, "completions") && !set(spec, "parallelism") {
        fill(spec, "completions", 1);
    }
    fill(spec, "parallelism", 1);
    let limit = if set(spec, "backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
    fill(spec, "backoffLimit", limit);
    fill_text(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    fill(spec, "manualSelector", false);
    let replacement = if set(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    fill_text(spec, "podReplacementPolicy", replacement);
    pod_spec::fill_template(spec);
    if job.labels().is_empty() {
        take_labels(job);
    }
}

/// A job without labels has those of its pods.
fn take_labels(job: &mut Object) {
    let labels = job.map_at(&POD_LABELS).clone();
    if !labels.is_empty() {
        job.set_at(&["metadata", "labels"], labels);
    }
}

fn set(spec: &Map, key: &str) -> bool {
    spec.get(key).is_some_and(|value| !value.is_null())
}

/// A job finds its pods by its own identity, unless its author insists on another way.
fn select_own_pods(job: &mut Object) {
    if job.bool_at(&["spec", "manualSelector"]) {
        return;
    }
    let (uid, name) = (job.uid().to_owned(), job.name().to_owned());
    let shared = job.labels() == job.map_at(&POD_LABELS);
    for (keys, value) in [(UID_LABELS, &uid), (NAME_LABELS, &name)] {
        for key in keys {
            job.set_at(&[&POD_LABELS[..], &[key]].concat(), value);
        }
    }
    if shared {
        take_labels(job);
    }
    job.set_at(&["spec", "selector", "matchLabels", UID_LABELS[0]], &uid);
}

fn status_of(job: &Object) -> &'static str {
    let conditions = job.list_at(&["status", "conditions"]);
    let is = |kind| conditions.iter().any(|one| one.str("type") == kind && one.str("status") == "True");
    for (kind, word) in [("Complete", "Complete"), ("Failed", "Failed")] {
        if is(kind) {
            return word;
        }
    }
    if job.deletion_timestamp().is_some() {
        return "Terminating";
    }
    for (kind, word) in
        [("Suspended", "Suspended"), ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet")]
    {
        if is(kind) {
            return word;
        }
    }
    "Running"
}

fn completions(job: &Object) -> String {
    let done = job.i64_at(&["status", "succeeded"]).unwrap_or_default();
    match (job.i64_at(&["spec", "completions"]), job.i64_at(&["spec", "parallelism"])) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, Some(parallel)) if parallel > 1 => format!("{done}/1 of {parallel}"),
        _ => format!("{done}/1"),
    }
}

fn run_time(job: &Object, now: Timestamp) -> String {
    let at = |key| time::parse(job.str_at(&["status", key]));
    match (at("startTime"), at("completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => print::duration(end.unwrap_or(now).as_second() - start.as_second()),
    }
}

pub(super) const CRON_JOB: Strategy = Strategy {
    default: |cron| {
        let spec = spec(cron);
        fill_text(spec, "concurrencyPolicy", "Allow");
        fill(spec, "suspend", false);
        fill(spec, "successfulJobsHistoryLimit", 3);
        fill(spec, "failedJobsHistoryLimit", 1);
        if let Some(template) = part(spec, "jobTemplate") {
            pod_spec::fill_template(make(template, "spec"));
        }
    },
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate: validate_cron,
    warnings: |cron| {
        let path = ["spec", "jobTemplate", "spec", "template", "spec"];
        pod_spec::warn_of_spec(&Path::new(path.join(".")), cron.map_at(&path))
    },
    generation: true,
    ..NOOP
};

pub(super) const CRON_JOB_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Schedule", |cron, _| Value::from(cron.str_at(&["spec", "schedule"]))),
    Column::new("Timezone", |cron, _| print::text_or_none(cron, &["spec", "timeZone"])),
    Column::new("Suspend", |cron, _| Value::from(if cron.bool_at(&["spec", "suspend"]) { "True" } else { "False" })),
    Column::new("Active", |cron, _| Value::from(cron.list_at(&["status", "active"]).len())).kind("integer"),
    Column::new("Last Schedule", |cron, now| {
        let last = cron.str_at(&["status", "lastScheduleTime"]);
        Value::from(if last.is_empty() { print::NONE.to_owned() } else { print::since(last, now) })
    }),
    AGE,
    Column::new("Containers", |cron, _| inner(cron, "name")).wide(),
    Column::new("Images", |cron, _| inner(cron, "image")).wide(),
    Column::new("Selector", |cron, _| {
        Value::from(print::selector(cron.at(&["spec", "jobTemplate", "spec", "selector"])))
    })
    .wide(),
];

fn inner(cron: &Object, field: &str) -> Value {
    let path = ["spec", "jobTemplate", "spec", "template", "spec", "containers"];
    let containers = cron.list_at(&path).iter();
    Value::from(print::joined_plain(containers.map(|container| container.str(field))))
}

fn validate_cron(cron: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = cron.map_at(&["spec"]);
    let schedule = spec.str("schedule");
    if schedule.is_empty() {
        errors.push(FieldError::required(path.child("schedule"), ""));
    } else if let Err(wrong) = schedule::check(schedule) {
        errors.push(FieldError::invalid(path.child("schedule"), schedule, wrong));
    }
    if schedule.contains("TZ") {
        let wrong = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.push(FieldError::invalid(path.child("schedule"), schedule, wrong));
    }
    if let Some(zone) = spec.get("timeZone").and_then(Value::as_str)
        && let Err(wrong) = schedule::check_zone(zone)
    {
        errors.push(FieldError::invalid(path.child("timeZone"), zone, wrong));
    }
    let policy = spec.str("concurrencyPolicy");
    let known = ["Allow", "Forbid", "Replace"];
    check::one_of(&mut errors, &path.child("concurrencyPolicy"), policy, &known);
    for key in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        check::not_negative(&mut errors, &path, spec, key);
    }
    if cron.name().len() > 52 {
        let wrong = "must be no more than 52 characters";
        errors.push(FieldError::invalid("metadata.name", cron.name(), wrong));
    }
    let template = check::part(check::part(spec, "jobTemplate"), "spec");
    rules::check_job(&mut errors, &path.child("jobTemplate").child("spec"), template);
    check::named(&mut errors, &Path::new("metadata.name"), cron.name(), names::dns1123_subdomain);
    errors
}
