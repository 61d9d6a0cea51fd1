//! Deployments, replica sets and replication controllers: pods that are all alike.

use crate::check::{self, Errors};
use crate::fill::{fill, fill_text, make, spec};
use crate::pod_spec;
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, SELECTOR};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};

pub(super) const DEPLOYMENT: Strategy = Strategy {
    default: default_deployment,
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate: validate_deployment,
    validate_update: super::same_selector,
    warnings: pod_spec::warn_of_template,
    generation: true,
    ..NOOP
};

pub(super) const DEPLOYMENT_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Ready", |object, _| {
        let number = |path: &[&str]| object.i64_at(path).unwrap_or_default();
        let (ready, wanted) = (number(&["status", "readyReplicas"]), number(&["spec", "replicas"]));
        Value::from(format!("{ready}/{wanted}"))
    })
    .about("Number of the pod with ready state"),
    Column::new("Up-to-date", |object, _| print::number(object, &["status", "updatedReplicas"])).kind("string"),
    Column::new("Available", |object, _| print::number(object, &["status", "availableReplicas"])).kind("string"),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn default_deployment(deployment: &mut Object) {
    let spec = spec(deployment);
    fill(spec, "replicas", 1);
    let strategy = make(spec, "strategy");
    fill_text(strategy, "type", "RollingUpdate");
    if strategy.str("type") == "RollingUpdate" {
        let rolling = make(strategy, "rollingUpdate");
        fill(rolling, "maxUnavailable", "25%");
        fill(rolling, "maxSurge", "25%");
    }
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "progressDeadlineSeconds", 600);
    pod_spec::fill_template(spec);
}

fn validate_deployment(deployment: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = deployment.map_at(&["spec"]);
    super::check_workload(&mut errors, "deployment", spec);
    check_strategy(&mut errors, &path.child("strategy"), check::part(spec, "strategy"));
    check::not_negative(&mut errors, &path, spec, "revisionHistoryLimit");
    check::not_negative(&mut errors, &path, spec, "progressDeadlineSeconds");
    let deadline = check::number(spec, "progressDeadlineSeconds").unwrap_or(600);
    if deadline <= check::number(spec, "minReadySeconds").unwrap_or_default() {
        let wrong = "must be greater than minReadySeconds";
        errors.push(FieldError::invalid(path.child("progressDeadlineSeconds"), deadline, wrong));
    }
    errors
}

fn check_strategy(errors: &mut Errors, path: &Path, strategy: &Map) {
    let kind = strategy.str("type");
    check::one_of(errors, &path.child("type"), kind, &["Recreate", "RollingUpdate"]);
    let Some(rolling) = strategy.get("rollingUpdate").and_then(Value::as_map) else {
        return;
    };
    let path = path.child("rollingUpdate");
    if kind == "Recreate" {
        let wrong = "may not be specified when strategy `type` is 'Recreate'";
        errors.push(FieldError::forbidden(path, wrong));
        return;
    }
    check_rolling(errors, &path, rolling);
}

/// How many pods may be missing and how many too many, not both none.
pub(super) fn check_rolling(errors: &mut Errors, path: &Path, rolling: &Map) {
    for key in ["maxUnavailable", "maxSurge"] {
        check::number_or_percent(errors, &path.child(key), rolling.get(key));
    }
    check::at_most_all(errors, &path.child("maxUnavailable"), rolling.get("maxUnavailable"));
    let is_none = |key| match rolling.get(key) {
        Some(Value::Int(number)) => *number == 0,
        Some(Value::String(text)) => &**text == "0%",
        _ => true,
    };
    if is_none("maxUnavailable") && is_none("maxSurge") {
        errors.push(FieldError::invalid(
            path.child("maxUnavailable"),
            rolling.get("maxUnavailable").cloned().unwrap_or_default(),
            "may not be 0 when `maxSurge` is 0",
        ));
    }
}

pub(crate) const REPLICA_SET: Strategy = Strategy {
    default: |set| {
        let spec = spec(set);
        fill(spec, "replicas", 1);
        pod_spec::fill_template(spec);
    },
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate: |set| {
        let mut errors = Errors::new();
        super::check_workload(&mut errors, "replica set", set.map_at(&["spec"]));
        errors
    },
    validate_update: super::same_selector,
    warnings: pod_spec::warn_of_template,
    generation: true,
    ..NOOP
};

pub(crate) const REPLICA_SET_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Desired", |object, _| print::number(object, &["spec", "replicas"])).kind("integer"),
    Column::new("Current", |object, _| print::number(object, &["status", "replicas"])).kind("integer"),
    Column::new("Ready", |object, _| print::number(object, &["status", "readyReplicas"])).kind("integer"),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

/// A replication controller selects by plain labels, and by those of its template if it names none.
pub(crate) const CONTROLLER: Strategy = Strategy {
    default: |controller| {
        let labels = controller.map_at(&["spec", "template", "metadata", "labels"]).clone();
        if !labels.is_empty() {
            if controller.map_at(&["spec", "selector"]).is_empty() {
                controller.set_at(&["spec", "selector"], Value::Map(labels.clone()));
            }
            if controller.labels().is_empty() {
                controller.set_at(&["metadata", "labels"], Value::Map(labels));
            }
        }
        let spec = spec(controller);
        fill(spec, "replicas", 1);
        pod_spec::fill_template(spec);
    },
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate: |controller| {
        let mut errors = Errors::new();
        let path = Path::new("spec");
        let spec = controller.map_at(&["spec"]);
        check::not_negative(&mut errors, &path, spec, "replicas");
        check::not_negative(&mut errors, &path, spec, "minReadySeconds");
        if check::part(spec, "selector").is_empty() {
            errors.push(FieldError::required(path.child("selector"), ""));
        }
        let selector = apimachinery::value!({"matchLabels": (Value::Map(check::part(spec, "selector").clone()))});
        let template = check::part(spec, "template");
        pod_spec::check_running_template(&mut errors, &path.child("template"), template, Some(&selector));
        errors
    },
    warnings: pod_spec::warn_of_template,
    generation: true,
    ..NOOP
};

pub(crate) const CONTROLLER_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Desired", |object, _| print::number(object, &["spec", "replicas"])).kind("integer"),
    Column::new("Current", |object, _| print::number(object, &["status", "replicas"])).kind("integer"),
    Column::new("Ready", |object, _| print::number(object, &["status", "readyReplicas"])).kind("integer"),
    AGE,
    CONTAINERS,
    IMAGES,
    Column::new("Selector", |object, _| Value::from(print::labels(object.map_at(&["spec", "selector"])))).wide(),
];
