//! Pods and pod templates.

mod columns;
mod update;

pub(super) use columns::COLUMNS;

use crate::check::{self, Errors};
use crate::fill::{each, fill, make, spec};
use crate::pod_spec;
use crate::print::{self, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::object::Object;
use apimachinery::value;
use apimachinery::value::{Map, Value};

pub(super) const STRATEGY: Strategy = Strategy {
    default,
    prepare_create,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate,
    validate_create: |pod| {
        let path = ["spec", "ephemeralContainers"];
        let given = !pod.list_at(&path).is_empty();
        given.then(|| FieldError::forbidden(path.join("."), "cannot be set on create")).into_iter().collect()
    },
    warnings: |pod| pod_spec::warn_of_spec(&Path::new("spec"), pod.map_at(&["spec"])),
    validate_update: update::validate,
    validate_part: update::validate_part,
    generation: true,
    ..NOOP
};

fn default(pod: &mut Object) {
    let spec = spec(pod);
    // Before the other defaults, which make an empty `resources`.
    for list in ["initContainers", "containers"] {
        each(spec, list).for_each(requests_from_limits);
    }
    pod_spec::fill_pod_spec(spec);
    fill(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        for list in ["initContainers", "containers"] {
            each(spec, list).for_each(host_ports);
        }
    }
}

/// What is limited and not requested is requested in full.
fn requests_from_limits(container: &mut Map) {
    let limits = check::part(check::part(container, "resources"), "limits").clone();
    if limits.is_empty() {
        return;
    }
    let requests = make(make(container, "resources"), "requests");
    for (name, limit) in limits {
        fill(requests, &name, limit);
    }
}

/// On the network of the host a port is the host's port.
fn host_ports(container: &mut Map) {
    for port in each(container, "ports") {
        if let Some(number) = check::number(port, "containerPort") {
            fill(port, "hostPort", number);
        }
    }
}

fn prepare_create(pod: &mut Object) {
    let class = qos_class(pod);
    let gated = !pod.list_at(&["spec", "schedulingGates"]).is_empty();
    let mut status = value!({"phase": "Pending", "qosClass": class});
    if gated {
        status.set_at(
            &["conditions"],
            value!([{
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]),
        );
    }
    pod.set_at(&["status"], status);
}

/// Guaranteed, Burstable or `BestEffort`, by the CPU and memory that all containers request and are limited to.
pub(super) fn qos_class(pod: &Object) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    let lists = [["spec", "containers"], ["spec", "initContainers"]];
    for container in lists.iter().flat_map(|path| pod.list_at(path)) {
        for resource in ["cpu", "memory"] {
            let amount = |kind| {
                container.at(&["resources", kind, resource]).filter(|amount| !pod_spec::amount(amount).is_zero())
            };
            let (request, limit) = (amount("requests"), amount("limits"));
            any |= request.is_some() || limit.is_some();
            guaranteed &=
                limit.is_some() && (request.is_none() || request.map(pod_spec::amount) == limit.map(pod_spec::amount));
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn validate(pod: &Object) -> Errors {
    let mut errors = Errors::new();
    pod_spec::check_spec(&mut errors, &Path::new("spec"), pod.map_at(&["spec"]));
    if pod.annotation(pod_spec::MIRROR_ANNOTATION).is_some() && pod.str_at(&["spec", "nodeName"]).is_empty() {
        let path = Path::new("metadata.annotations").key(pod_spec::MIRROR_ANNOTATION);
        errors.push(FieldError::invalid(path, "", "must set spec.nodeName if mirror pod annotation is set"));
    }
    errors
}

pub(super) const TEMPLATE: Strategy = Strategy {
    default: |template| {
        if template.get("template").is_some() {
            pod_spec::fill_template(template.as_map_mut());
        }
    },
    validate: |object| {
        let mut errors = Errors::new();
        pod_spec::check_template(&mut errors, &Path::new("template"), object.map_at(&["template"]), None);
        errors
    },
    generation: true,
    ..NOOP
};

pub(super) const TEMPLATE_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Containers", |object, _| fields(object, "name")),
    Column::new("Images", |object, _| fields(object, "image")),
    Column::new("Pod Labels", |object, _| {
        Value::from(print::labels(object.map_at(&["template", "metadata", "labels"])))
    }),
];

fn fields(object: &Object, field: &str) -> Value {
    let containers = object.list_at(&["template", "spec", "containers"]);
    Value::from(print::joined_plain(containers.iter().map(|container| container.str(field))))
}

#[cfg(test)]
mod tests;
