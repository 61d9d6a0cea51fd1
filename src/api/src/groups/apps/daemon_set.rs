//! Daemon sets: one pod on every node.

use super::deployment::check_rolling;
use crate::check::{self, Errors};
use crate::fill::{fill, fill_text, make, spec};
use crate::pod_spec;
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, SELECTOR};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::Path;
use apimachinery::object::Object;
use apimachinery::value::Value;

pub(super) const STRATEGY: Strategy = Strategy {
    default,
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate,
    validate_update: super::same_selector,
    warnings: pod_spec::warn_of_template,
    generation: true,
    ..NOOP
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Desired", |set, _| print::number(set, &["status", "desiredNumberScheduled"])).kind("integer"),
    Column::new("Current", |set, _| print::number(set, &["status", "currentNumberScheduled"])).kind("integer"),
    Column::new("Ready", |set, _| print::number(set, &["status", "numberReady"])).kind("integer"),
    Column::new("Up-to-date", |set, _| print::number(set, &["status", "updatedNumberScheduled"])).kind("integer"),
    Column::new("Available", |set, _| print::number(set, &["status", "numberAvailable"])).kind("integer"),
    Column::new("Node Selector", |set, _| {
        Value::from(print::labels(set.map_at(&["spec", "template", "spec", "nodeSelector"])))
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn default(set: &mut Object) {
    let spec = spec(set);
    let strategy = make(spec, "updateStrategy");
    fill_text(strategy, "type", "RollingUpdate");
    if strategy.str("type") == "RollingUpdate" {
        let rolling = make(strategy, "rollingUpdate");
        fill(rolling, "maxUnavailable", 1);
        fill(rolling, "maxSurge", 0);
    }
    fill(spec, "revisionHistoryLimit", 10);
    pod_spec::fill_template(spec);
}

fn validate(set: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = set.map_at(&["spec"]);
    super::check_workload(&mut errors, "daemon set", spec);
    check::not_negative(&mut errors, &path, spec, "revisionHistoryLimit");
    let strategy = check::part(spec, "updateStrategy");
    let path = path.child("updateStrategy");
    let kind = strategy.str("type");
    check::one_of(&mut errors, &path.child("type"), kind, &["OnDelete", "RollingUpdate"]);
    if kind == "RollingUpdate" {
        check_rolling(&mut errors, &path.child("rollingUpdate"), check::part(strategy, "rollingUpdate"));
    }
    errors
}
