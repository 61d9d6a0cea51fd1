//! The rules for probes and lifecycle hooks.

use crate::check::{self, Errors};
use apimachinery::field::{FieldError, Path};
use apimachinery::value::{Map, Value};

pub(super) fn check_probes(errors: &mut Errors, path: &Path, container: &Map) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(kind).and_then(Value::as_map) else {
            continue;
        };
        let path = path.child(kind);
        check_handler(errors, &path, probe, &["exec", "httpGet", "tcpSocket", "grpc"]);
        let numbers =
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
        for key in numbers {
            check::not_negative(errors, &path, probe, key);
        }
        let grace = check::number(probe, "terminationGracePeriodSeconds");
        if let Some(seconds) = grace.filter(|seconds| *seconds <= 0) {
            let wrong = "must be greater than 0";
            errors.push(FieldError::invalid(path.child("terminationGracePeriodSeconds"), seconds, wrong));
        }
        let successes = check::number(probe, "successThreshold").unwrap_or(1);
        if kind != "readinessProbe" && successes != 1 {
            errors.push(FieldError::invalid(path.child("successThreshold"), successes, "must be 1"));
        }
        if kind == "readinessProbe" && grace.is_some() {
            let wrong = "must not be set for readinessProbes";
            let path = path.child("terminationGracePeriodSeconds");
            errors.push(FieldError::invalid(path, grace.unwrap_or_default(), wrong));
        }
    }
}

pub(super) fn check_lifecycle(errors: &mut Errors, path: &Path, container: &Map) {
    for hook in ["postStart", "preStop"] {
        let lifecycle = check::part(container, "lifecycle");
        if let Some(handler) = lifecycle.get(hook).and_then(Value::as_map) {
            let path = path.child("lifecycle").child(hook);
            check_handler(errors, &path, handler, &["exec", "httpGet", "tcpSocket", "sleep"]);
        }
    }
}

/// Exactly one of several actions, and that one whole.
fn check_handler(errors: &mut Errors, path: &Path, handler: &Map, actions: &[&str]) {
    let mut seen = 0;
    for action in actions {
        let Some(details) = handler.get(action).and_then(Value::as_map) else {
            continue;
        };
        let path = path.child(action);
        seen += 1;
        if seen > 1 {
            errors.push(FieldError::forbidden(path, "may not specify more than 1 handler type"));
            continue;
        }
        check_action(errors, &path, action, details);
    }
    if seen == 0 {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
}

fn check_action(errors: &mut Errors, path: &Path, action: &str, details: &Map) {
    match action {
        "exec" if check::list(details, "command").is_empty() => {
            errors.push(FieldError::required(path.child("command"), ""));
        }
        "httpGet" | "tcpSocket" => {
            let port = details.get("port").unwrap_or(&Value::Int(0));
            check::port_or_name(errors, &path.child("port"), port);
            if action == "httpGet" {
                check::required(errors, &path.child("path"), details.str("path"));
                let scheme = details.str("scheme");
                check::one_of(errors, &path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
            }
        }
        "grpc" => {
            let port = check::number(details, "port").unwrap_or_default();
            check::port(errors, &path.child("port"), port);
        }
        _ => {}
    }
}
