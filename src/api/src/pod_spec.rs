//! The pod specification, which pods and all workloads share: its defaults and its rules.

mod containers;
mod defaults;
mod probes;
mod resources;
mod scheduling;
mod security;
mod sources;
mod volumes;
mod warnings;
mod whole;

pub(crate) use defaults::{fill_pod_spec, fill_template};
pub(crate) use resources::amount;
pub(crate) use scheduling::{check_node_term, check_toleration};
pub(crate) use sources::{check_driver, check_source};
pub(crate) use warnings::warn_of_spec;

use crate::check::{self, Errors};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};

/// Annotations that say a pod mirrors a static one.
pub(crate) const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Checks the specification of a pod or a template.
pub(crate) fn check_spec(errors: &mut Errors, path: &Path, spec: &Map) {
    let volumes = volumes::check_volumes(errors, &path.child("volumes"), spec);
    containers::check_containers(errors, path, spec, &volumes);
    let policy = spec.str("restartPolicy");
    check::one_of(errors, &path.child("restartPolicy"), policy, &["Always", "OnFailure", "Never"]);
    let dns = spec.str("dnsPolicy");
    let known = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    check::one_of(errors, &path.child("dnsPolicy"), dns, &known);
    if dns == "None" && check::list(check::part(spec, "dnsConfig"), "nameservers").is_empty() {
        errors.push(FieldError::required(
            path.child("dnsConfig").child("nameservers"),
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        ));
    }
    for (key, rule) in [
        ("serviceAccountName", names::dns1123_subdomain as fn(&str) -> Vec<String>),
        ("nodeName", names::dns1123_subdomain),
        ("priorityClassName", names::dns1123_subdomain),
        ("runtimeClassName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
    ] {
        if !spec.str(key).is_empty() {
            check::named(errors, &path.child(key), spec.str(key), rule);
        }
    }
    check_times(errors, path, spec);
    security::check_pod(errors, path, spec);
    whole::check_whole(errors, path, spec);
    check_host_namespaces(errors, path, spec);
    check_aliases(errors, path, spec);
    scheduling::check_scheduling(errors, path, spec);
}

/// Checks a pod template against the selector of its workload.
pub(crate) fn check_template(errors: &mut Errors, path: &Path, template: &Map, selector: Option<&Value>) {
    let metadata = check::part(template, "metadata");
    let labels = check::part(metadata, "labels");
    if let Some(selector) = selector
        && !check::is_empty_selector(Some(selector))
        && !check::selects(selector, labels)
    {
        errors.push(FieldError::invalid(
            path.child("metadata").child("labels"),
            Value::Map(labels.clone()),
            "`selector` does not match template `labels`",
        ));
    }
    check::labels(errors, &path.child("labels"), labels);
    let spec = check::part(template, "spec");
    if !check::list(spec, "ephemeralContainers").is_empty() {
        let wrong = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(path.child("spec").child("ephemeralContainers"), wrong));
    }
    check_spec(errors, &path.child("spec"), spec);
}

/// Says what is unwise in the pod template of a workload.
pub(crate) fn warn_of_template(object: &Object) -> Vec<String> {
    let path = ["spec", "template", "spec"];
    warn_of_spec(&Path::new(path.join(".")), object.map_at(&path))
}

/// Checks the template of a workload that keeps its pods running.
pub(crate) fn check_running_template(errors: &mut Errors, path: &Path, template: &Map, selector: Option<&Value>) {
    check_template(errors, path, template, selector);
    let spec = check::part(template, "spec");
    let policy = spec.str("restartPolicy");
    let path = path.child("spec");
    if policy != "Always" && ["OnFailure", "Never"].contains(&policy) {
        errors.push(FieldError::not_supported(path.child("restartPolicy"), policy, &["Always"]));
    }
    if spec.get("activeDeadlineSeconds").is_some_and(|value| !value.is_null()) {
        errors.push(FieldError::forbidden(
            path.child("activeDeadlineSeconds"),
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        ));
    }
}

fn check_times(errors: &mut Errors, path: &Path, spec: &Map) {
    if let Some(seconds) = check::number(spec, "activeDeadlineSeconds") {
        let path = path.child("activeDeadlineSeconds");
        check::between(errors, &path, seconds, (1, i64::from(i32::MAX)));
    }
    check::not_negative(errors, path, spec, "terminationGracePeriodSeconds");
}

fn check_host_namespaces(errors: &mut Errors, path: &Path, spec: &Map) {
    let set = |key: &str| spec.get(key).and_then(Value::as_bool).unwrap_or_default();
    if set("hostPID") && set("shareProcessNamespace") {
        errors.push(FieldError::invalid(
            path.child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        ));
    }
    if spec.get("hostUsers") == Some(&Value::Bool(false)) {
        for key in ["hostPID", "hostIPC"] {
            if set(key) {
                let wrong = "when `hostUsers` is false";
                errors.push(FieldError::forbidden(path.child(key), wrong));
            }
        }
    }
}

fn check_aliases(errors: &mut Errors, path: &Path, spec: &Map) {
    for (index, alias) in check::maps(spec, "hostAliases") {
        let ip = alias.str("ip");
        let path = path.child("hostAliases").index(index);
        check::ip(errors, &path.child("ip"), ip);
        for (at, name) in check::list(alias, "hostnames").iter().enumerate() {
            let path = path.child("hostnames").index(at);
            check::named(errors, &path, name.as_str().unwrap_or_default(), names::dns1123_subdomain);
        }
    }
}

#[cfg(test)]
mod tests;
