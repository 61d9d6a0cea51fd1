//! The rules for containers: names, images, ports, environment, mounts, resources.

use super::{probes, resources, security};
use crate::check::{self, Errors};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::value::{Map, Value};
use std::collections::HashSet;

/// The words for a name that occurs only once too often is the path; these are the policies known.
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

pub(super) fn check_containers(errors: &mut Errors, path: &Path, spec: &Map, volumes: &HashSet<String>) {
    let mut names = HashSet::new();
    let host_users = spec.get("hostUsers") != Some(&Value::Bool(false));
    let on_host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    let claims: Vec<&str> = check::maps(spec, "resourceClaims").map(|(_, claim)| claim.str("name")).collect();
    if check::list(spec, "containers").is_empty() {
        errors.push(FieldError::required(path.child("containers"), ""));
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let mut host_ports = HashSet::new();
        for (index, container) in check::maps(spec, list) {
            let path = path.child(list).index(index);
            let name = container.str("name");
            check::required_named(errors, &path.child("name"), name, names::dns1123_label);
            if !name.is_empty() && !names.insert(name) {
                errors.push(FieldError::duplicate(path.child("name"), name));
            }
            check_container(errors, &path, container, volumes);
            let context = check::part(container, "securityContext");
            security::check_container(errors, &path.child("securityContext"), context, host_users);
            check_ports(errors, &path, container, &mut host_ports);
            if on_host_network {
                check_ports_of_host(errors, &path, container);
            }
            check_roles(errors, &path, container, list);
            resources::check_claims(errors, &path.child("resources"), check::part(container, "resources"), &claims);
            if list == "ephemeralContainers" {
                check_ephemeral(errors, &path, container, spec);
            }
        }
    }
}

fn check_container(errors: &mut Errors, path: &Path, container: &Map, volumes: &HashSet<String>) {
    let image = container.str("image");
    if image.is_empty() {
        errors.push(FieldError::required(path.child("image"), ""));
    } else if image.trim() != image {
        let wrong = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(path.child("image"), image, wrong));
    }
    let policy = container.str("imagePullPolicy");
    check::one_of(errors, &path.child("imagePullPolicy"), policy, &PULL_POLICIES);
    let message = container.str("terminationMessagePolicy");
    let known = ["File", "FallbackToLogsOnError"];
    check::one_of(errors, &path.child("terminationMessagePolicy"), message, &known);
    check_env(errors, path, container);
    resources::check_resources(errors, &path.child("resources"), check::part(container, "resources"));
    check_mounts(errors, path, container, volumes);
    check_devices(errors, path, container, volumes);
    probes::check_lifecycle(errors, path, container);
    resources::check_resize_policy(errors, path, container);
}

/// What a container that is only added to look around may not have.
fn check_ephemeral(errors: &mut Errors, path: &Path, container: &Map, spec: &Map) {
    let why = "cannot be set for an Ephemeral Container";
    for key in ["ports", "resizePolicy"] {
        check::unset(errors, path, container, key, why);
    }
    if !check::part(container, "resources").is_empty() {
        errors.push(FieldError::forbidden(path.child("resources"), why));
    }
    for (index, mount) in check::maps(container, "volumeMounts") {
        let path = path.child("volumeMounts").index(index);
        for key in ["subPath", "subPathExpr"].iter().filter(|key| !mount.str(key).is_empty()) {
            errors.push(FieldError::forbidden(path.child(key), why));
        }
    }
    let target = container.str("targetContainerName");
    let known = ["containers", "initContainers"].iter().flat_map(|list| check::maps(spec, list));
    if !target.is_empty() && !known.into_iter().any(|(_, one)| one.str("name") == target) {
        errors.push(FieldError::not_found(path.child("targetContainerName"), target));
    }
}

fn check_ports_of_host(errors: &mut Errors, path: &Path, container: &Map) {
    for (index, port) in check::maps(container, "ports") {
        let (inner, outer) = (check::number(port, "containerPort"), check::number(port, "hostPort").unwrap_or(0));
        if let Some(inner) = inner.filter(|inner| outer != 0 && outer != *inner) {
            let wrong = "must match `hostPort` when `hostNetwork` is true";
            let path = path.child("ports").index(index).child("containerPort");
            errors.push(FieldError::invalid(path, inner, wrong));
        }
    }
}

/// Volumes a container uses as block devices.
fn check_devices(errors: &mut Errors, path: &Path, container: &Map, volumes: &HashSet<String>) {
    let mut seen = HashSet::new();
    for (index, device) in check::maps(container, "volumeDevices") {
        let path = path.child("volumeDevices").index(index);
        let (name, place) = (device.str("name"), device.str("devicePath"));
        check::required(errors, &path.child("name"), name);
        if !name.is_empty() && !volumes.contains(name) {
            errors.push(FieldError::not_found(path.child("name"), name));
        }
        check::required(errors, &path.child("devicePath"), place);
        check::no_step_up(errors, &path.child("devicePath"), place);
        if !seen.insert(place) {
            errors.push(FieldError::invalid(path.child("devicePath"), place, "must be unique"));
        }
        if check::maps(container, "volumeMounts").any(|(_, mount)| mount.str("name") == name) {
            errors.push(FieldError::invalid(path.child("name"), name, "must not already exist in volumeMounts"));
        }
    }
}

/// What only some containers may have.
fn check_roles(errors: &mut Errors, path: &Path, container: &Map, list: &str) {
    let sidecar = list == "initContainers" && container.str("restartPolicy") == "Always";
    if list == "containers" || sidecar {
        probes::check_probes(errors, path, container);
        return;
    }
    let what = if list == "ephemeralContainers" {
        "not allowed for ephemeral containers"
    } else {
        "may not be set for init containers without restartPolicy=Always"
    };
    for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if container.get(key).is_some_and(|value| !value.is_null()) {
            errors.push(FieldError::forbidden(path.child(key), what));
        }
    }
}

fn check_ports(errors: &mut Errors, path: &Path, container: &Map, host_ports: &mut HashSet<(String, String, i64)>) {
    let mut port_names = HashSet::new();
    for (index, port) in check::maps(container, "ports") {
        let path = path.child("ports").index(index);
        let name = port.str("name");
        if !name.is_empty() {
            check::named(errors, &path.child("name"), name, names::port_name);
            if !port_names.insert(name) {
                errors.push(FieldError::duplicate(path.child("name"), name));
            }
        }
        match check::number(port, "containerPort") {
            None | Some(0) => errors.push(FieldError::required(path.child("containerPort"), "")),
            Some(number) => check::port(errors, &path.child("containerPort"), number),
        }
        if let Some(number) = check::number(port, "hostPort").filter(|number| *number != 0) {
            check::port(errors, &path.child("hostPort"), number);
            let taken = (port.str("protocol").to_owned(), port.str("hostIP").to_owned(), number);
            if !host_ports.insert(taken) {
                let text = format!("{}/{}/{number}", port.str("protocol"), port.str("hostIP"));
                errors.push(FieldError::duplicate(path.child("hostPort"), text));
            }
        }
        let protocol = port.str("protocol");
        check::one_of(errors, &path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
    }
}

fn check_env(errors: &mut Errors, path: &Path, container: &Map) {
    check_env_from(errors, &path.child("envFrom"), container);
    for (index, env) in check::maps(container, "env") {
        let path = path.child("env").index(index);
        check::required_named(errors, &path.child("name"), env.str("name"), names::env_var_name);
        let Some(from) = env.get("valueFrom").and_then(Value::as_map) else {
            continue;
        };
        let path = path.child("valueFrom");
        let sources = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
        let set = sources.iter().filter(|key| from.get(key).is_some_and(|value| !value.is_null()));
        match set.count() {
            0 => errors.push(FieldError::invalid(
                &path,
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            )),
            1 if !env.str("value").is_empty() => {
                let wrong = "may not be specified when `value` is not empty";
                errors.push(FieldError::invalid(&path, "", wrong));
            }
            1 => check_env_source(errors, &path, from),
            _ => {
                let wrong = "may not have more than one field specified at a time";
                errors.push(FieldError::invalid(&path, "", wrong));
            }
        }
    }
}

fn check_env_from(errors: &mut Errors, path: &Path, container: &Map) {
    for (index, source) in check::maps(container, "envFrom") {
        let path = path.index(index);
        if !source.str("prefix").is_empty() {
            check::named(errors, &path.child("prefix"), source.str("prefix"), names::env_var_name);
        }
        let kinds = ["configMapRef", "secretRef"].into_iter().filter(|kind| check::set(source, kind));
        match kinds.collect::<Vec<_>>().as_slice() {
            [] => {
                let wrong = "must specify one of: `configMapRef` or `secretRef`";
                errors.push(FieldError::invalid(&path, "", wrong));
            }
            [kind] => {
                let name = check::part(source, kind).str("name");
                check::required_named(errors, &path.child(kind).child("name"), name, names::dns1123_subdomain);
            }
            _ => {
                let wrong = "may not have more than one field specified at a time";
                errors.push(FieldError::invalid(&path, "", wrong));
            }
        }
    }
}

fn check_env_source(errors: &mut Errors, path: &Path, from: &Map) {
    for key in ["configMapKeyRef", "secretKeyRef"] {
        let Some(reference) = from.get(key).and_then(Value::as_map) else {
            continue;
        };
        let path = path.child(key);
        check::required_named(errors, &path.child("key"), reference.str("key"), names::config_map_key);
        check::required(errors, &path.child("name"), reference.str("name"));
    }
    if let Some(field) = from.get("fieldRef").and_then(Value::as_map) {
        let path = path.child("fieldRef").child("fieldPath");
        let name = field.str("fieldPath");
        let known = [
            "metadata.annotations",
            "metadata.labels",
            "metadata.name",
            "metadata.namespace",
            "metadata.uid",
            "spec.nodeName",
            "spec.serviceAccountName",
            "status.hostIP",
            "status.hostIPs",
            "status.podIP",
            "status.podIPs",
        ];
        let subscripted = ["metadata.annotations['", "metadata.labels['"];
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if !known.contains(&name) && !subscripted.iter().any(|prefix| name.starts_with(prefix)) {
            errors.push(FieldError::not_supported(path, name, &known));
        }
    }
}

fn check_mounts(errors: &mut Errors, path: &Path, container: &Map, volumes: &HashSet<String>) {
    let mut places = HashSet::new();
    for (index, mount) in check::maps(container, "volumeMounts") {
        let path = path.child("volumeMounts").index(index);
        let (name, place) = (mount.str("name"), mount.str("mountPath"));
        if name.is_empty() {
            errors.push(FieldError::required(path.child("name"), ""));
        } else if !volumes.contains(name) {
            errors.push(FieldError::not_found(path.child("name"), name));
        }
        check::required(errors, &path.child("mountPath"), place);
        if !place.is_empty() && !places.insert(place) {
            errors.push(FieldError::invalid(path.child("mountPath"), place, "must be unique"));
        }
        for key in ["subPath", "subPathExpr"] {
            let inner = mount.str(key);
            check::inner_path(errors, &path.child(key), inner);
        }
        check_propagation(errors, &path, container, mount.str("mountPropagation"));
        if !mount.str("subPath").is_empty() && !mount.str("subPathExpr").is_empty() {
            let wrong = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(path.child("subPathExpr"), mount.str("subPathExpr"), wrong));
        }
    }
}

/// Mounts made in a container reach the host only from privileged ones.
fn check_propagation(errors: &mut Errors, path: &Path, container: &Map, propagation: &str) {
    let path = path.child("mountPropagation");
    check::optional_one_of(errors, &path, propagation, &["Bidirectional", "HostToContainer", "None"]);
    let privileged = check::part(container, "securityContext").get("privileged") == Some(&Value::Bool(true));
    if propagation == "Bidirectional" && !privileged {
        let wrong = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(path, wrong));
    }
}
