//! The group `apps`: workloads.

mod daemon_set;
mod deployment;
mod stateful_set;

pub(super) use deployment::{CONTROLLER, CONTROLLER_COLUMNS};

use crate::check::{self, Errors};
use crate::pod_spec;
use crate::resource::{ResourceDescriptor as Row, Subresource as Sub};
use apimachinery::field::{FieldError, Path};
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};

const V1: (&str, &str) = ("apps", "v1");
const SCALE_AND_STATUS: &[Sub] = &[Sub::SCALE, Sub::STATUS];

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::namespaced(V1, "ControllerRevision", "controllerrevisions")
        .strategy(&stateful_set::REVISION)
        .columns(stateful_set::REVISION_COLUMNS),
    Row::namespaced(V1, "DaemonSet", "daemonsets")
        .short(&["ds"])
        .strategy(&daemon_set::STRATEGY)
        .columns(daemon_set::COLUMNS)
        .in_all()
        .with_status(),
    Row::namespaced(V1, "Deployment", "deployments")
        .short(&["deploy"])
        .strategy(&deployment::DEPLOYMENT)
        .columns(deployment::DEPLOYMENT_COLUMNS)
        .in_all()
        .with(SCALE_AND_STATUS),
    Row::namespaced(V1, "ReplicaSet", "replicasets")
        .short(&["rs"])
        .strategy(&deployment::REPLICA_SET)
        .columns(deployment::REPLICA_SET_COLUMNS)
        .in_all()
        .selectable(&["status.replicas"])
        .with(SCALE_AND_STATUS),
    Row::namespaced(V1, "StatefulSet", "statefulsets")
        .short(&["sts"])
        .strategy(&stateful_set::STRATEGY)
        .columns(stateful_set::COLUMNS)
        .in_all()
        .with(SCALE_AND_STATUS),
];

/// What all workloads share: a count, a selector, and a template that fits it.
fn check_workload(errors: &mut Errors, what: &str, spec: &Map) {
    let path = Path::new("spec");
    check::not_negative(errors, &path, spec, "replicas");
    check::not_negative(errors, &path, spec, "minReadySeconds");
    check_selector(errors, &path, what, spec);
    let template = check::part(spec, "template");
    let selector = spec.get("selector");
    pod_spec::check_running_template(errors, &path.child("template"), template, selector);
}

fn check_selector(errors: &mut Errors, path: &Path, what: &str, spec: &Map) {
    let path = path.child("selector");
    let Some(selector) = spec.get("selector").filter(|selector| !selector.is_null()) else {
        errors.push(FieldError::required(path, ""));
        return;
    };
    check::selector(errors, &path, selector);
    if check::is_empty_selector(Some(selector)) {
        let wrong = format!("empty selector is invalid for {what}");
        errors.push(FieldError::invalid(path, Value::map(), wrong));
    }
}

fn same_selector(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = ["spec", "selector"];
    check::unchanged(&mut errors, &Path::new("spec.selector"), new.at(&path), old.at(&path));
    errors
}

#[cfg(test)]
mod tests;
