//! The documented defaults of a pod specification.

use crate::fill::{each, fill, fill_number, fill_text, make, part};
use apimachinery::value::{Map, Value};

/// The lists of containers a pod has.
const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// The defaults that pods and templates share.
pub(crate) fn fill_pod_spec(spec: &mut Map) {
    fill_text(spec, "restartPolicy", "Always");
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill_text(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "securityContext", Value::map());
    fill_text(spec, "schedulerName", "default-scheduler");
    fill_account(spec);
    for list in CONTAINER_LISTS {
        each(spec, list).for_each(fill_container);
    }
    each(spec, "volumes").for_each(fill_volume);
}

/// The defaults of the pod template of a workload.
pub(crate) fn fill_template(spec: &mut Map) {
    if let Some(template) = part(spec, "template") {
        fill_pod_spec(make(template, "spec"));
    }
}

/// The old name of the service account goes with the new one.
fn fill_account(spec: &mut Map) {
    for (from, to) in [("serviceAccountName", "serviceAccount"), ("serviceAccount", "serviceAccountName")] {
        if !spec.str(from).is_empty() && spec.str(to) != spec.str(from) {
            let name = spec.str(from).to_owned();
            spec.insert(to, name);
        }
    }
}

fn fill_container(container: &mut Map) {
    let policy = if is_latest(container.str("image")) { "Always" } else { "IfNotPresent" };
    fill_text(container, "imagePullPolicy", policy);
    fill_text(container, "terminationMessagePath", "/dev/termination-log");
    fill_text(container, "terminationMessagePolicy", "File");
    fill(container, "resources", Value::map());
    for port in each(container, "ports") {
        fill_text(port, "protocol", "TCP");
    }
    for env in each(container, "env") {
        if let Some(field) = part(env, "valueFrom").and_then(|from| part(from, "fieldRef")) {
            fill_text(field, "apiVersion", "v1");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = part(container, probe) {
            fill_probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(hook) = part(container, "lifecycle").and_then(|lifecycle| part(lifecycle, hook)) {
            fill_http_get(hook);
        }
    }
}

/// No tag and no digest means the tag `latest`.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn fill_probe(probe: &mut Map) {
    fill_number(probe, "timeoutSeconds", 1);
    fill_number(probe, "periodSeconds", 10);
    fill_number(probe, "successThreshold", 1);
    fill_number(probe, "failureThreshold", 3);
    fill_http_get(probe);
    if let Some(grpc) = part(probe, "grpc") {
        fill(grpc, "service", "");
    }
}

fn fill_http_get(handler: &mut Map) {
    if let Some(get) = part(handler, "httpGet") {
        fill_text(get, "path", "/");
        fill_text(get, "scheme", "HTTP");
    }
}

fn fill_volume(volume: &mut Map) {
    if volume.len() == 1 && volume.contains_key("name") {
        volume.insert("emptyDir", Value::map());
    }
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = part(volume, kind) {
            fill(source, "defaultMode", 0o644);
            each(source, "items").for_each(fill_downward_item);
            each(source, "sources").for_each(fill_projection);
        }
    }
    if let Some(path) = part(volume, "hostPath") {
        fill(path, "type", "");
    }
    if let Some(iscsi) = part(volume, "iscsi") {
        fill_text(iscsi, "iscsiInterface", "default");
    }
    if let Some(image) = part(volume, "image") {
        let policy = if is_latest(image.str("reference")) { "Always" } else { "IfNotPresent" };
        fill_text(image, "pullPolicy", policy);
    }
    let claim = part(volume, "ephemeral").and_then(|volume| part(volume, "volumeClaimTemplate"));
    if let Some(spec) = claim.and_then(|claim| part(claim, "spec")) {
        fill(spec, "volumeMode", "Filesystem");
    }
}

fn fill_projection(source: &mut Map) {
    if let Some(token) = part(source, "serviceAccountToken") {
        fill(token, "expirationSeconds", 3600);
    }
    if let Some(downward) = part(source, "downwardAPI") {
        each(downward, "items").for_each(fill_downward_item);
    }
}

fn fill_downward_item(item: &mut Map) {
    if let Some(field) = part(item, "fieldRef") {
        fill_text(field, "apiVersion", "v1");
    }
}
