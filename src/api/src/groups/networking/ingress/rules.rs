//! The rules for ingresses and their classes: hosts that are names, paths without tricks, one backend each.

use crate::check::{self, Errors};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};

/// How classes were named before they had a field.
const OLD_CLASS: &str = "kubernetes.io/ingress.class";
/// The longest name of a controller.
const LONGEST_CONTROLLER: usize = 250;

pub(super) fn validate(ingress: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = ingress.map_at(&["spec"]);
    let backend = spec.get("defaultBackend").and_then(Value::as_map);
    if check::list(spec, "rules").is_empty() && backend.is_none() {
        let wrong = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(&path, Value::from(check::list(spec, "rules")), wrong));
    }
    if let Some(backend) = backend {
        check_backend(&mut errors, &path.child("defaultBackend"), backend);
    }
    for (index, rule) in check::maps(spec, "rules") {
        check_rule(&mut errors, &path.child("rules").index(index), rule);
    }
    for (index, tls) in check::maps(spec, "tls") {
        let path = path.child("tls").index(index);
        for (at, host) in check::texts(tls, "hosts") {
            check_host(&mut errors, &path.child("hosts").index(at), host);
        }
        let secret = tls.str("secretName");
        if !secret.is_empty() {
            check::named(&mut errors, &path.child("secretName"), secret, names::dns1123_subdomain);
        }
    }
    if check::set(spec, "ingressClassName") {
        let class = spec.str("ingressClassName");
        check::named(&mut errors, &path.child("ingressClassName"), class, names::dns1123_subdomain);
        if let Some(old) = ingress.annotation(OLD_CLASS).filter(|old| *old != class) {
            let path = Path::new("metadata.annotations").child(OLD_CLASS);
            errors.push(FieldError::invalid(path, old, "can not be set when the class field is also set"));
        }
    }
    errors
}

fn check_host(errors: &mut Errors, path: &Path, host: &str) {
    let rule = if host.contains('*') { names::wildcard_subdomain } else { names::dns1123_subdomain };
    check::named(errors, path, host, rule);
}

fn check_rule(errors: &mut Errors, path: &Path, rule: &Map) {
    let host = rule.str("host");
    if host.parse::<std::net::IpAddr>().is_ok() {
        errors.push(FieldError::invalid(path.child("host"), host, "must be a DNS name, not an IP address"));
    }
    if !host.is_empty() {
        check_host(errors, &path.child("host"), host);
    }
    let Some(http) = rule.get("http").and_then(Value::as_map) else { return };
    let path = path.child("http").child("paths");
    if check::list(http, "paths").is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    for (index, entry) in check::maps(http, "paths") {
        check_path(errors, &path.index(index), entry);
    }
}

fn check_path(errors: &mut Errors, path: &Path, entry: &Map) {
    let (kind, place) = (entry.str("pathType"), entry.str("path"));
    match kind {
        "" => errors.push(FieldError::required(path.child("pathType"), "pathType must be specified")),
        "Exact" | "Prefix" if !place.starts_with('/') => {
            errors.push(FieldError::invalid(path.child("path"), place, "must be an absolute path"));
        }
        "Exact" | "Prefix" => {
            let path = path.child("path");
            for bad in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|bad| place.contains(bad)) {
                errors.push(FieldError::invalid(&path, place, format!("must not contain '{bad}'")));
            }
            for bad in ["/..", "/."].into_iter().filter(|bad| place.ends_with(bad)) {
                errors.push(FieldError::invalid(&path, place, format!("cannot end with '{bad}'")));
            }
        }
        "ImplementationSpecific" if !place.is_empty() && !place.starts_with('/') => {
            errors.push(FieldError::invalid(path.child("path"), place, "must be an absolute path"));
        }
        "ImplementationSpecific" => {}
        other => errors.push(FieldError::not_supported(
            path.child("pathType"),
            other,
            &["Exact", "ImplementationSpecific", "Prefix"],
        )),
    }
    check_backend(errors, &path.child("backend"), check::part(entry, "backend"));
}

fn check_backend(errors: &mut Errors, path: &Path, backend: &Map) {
    let service = backend.get("service").and_then(Value::as_map);
    let resource = backend.get("resource").and_then(Value::as_map);
    match (service, resource) {
        (Some(_), Some(_)) => {
            let wrong = "cannot set both resource and service backends";
            errors.push(FieldError::invalid(path, "", wrong));
        }
        (None, None) => errors.push(FieldError::required(path, "resource or service backend is required")),
        (Some(service), None) => check_service(errors, &path.child("service"), service),
        (None, Some(resource)) => {
            for key in ["name", "kind"] {
                check::required_named(
                    errors,
                    &path.child("resource").child(key),
                    resource.str(key),
                    names::path_segment,
                );
            }
        }
    }
}

fn check_service(errors: &mut Errors, path: &Path, service: &Map) {
    check::required_named(errors, &path.child("name"), service.str("name"), names::dns1035_label);
    let port = check::part(service, "port");
    let number = check::number(port, "number").filter(|number| *number != 0);
    match (number, port.str("name")) {
        (None, "") => errors.push(FieldError::required(path, "port name or number is required")),
        (Some(_), name) if !name.is_empty() => {
            errors.push(FieldError::invalid(path, "", "cannot set both port name & port number"));
        }
        (Some(number), _) => check::port(errors, &path.child("port").child("number"), number),
        (None, name) => check::named(errors, &path.child("port").child("name"), name, names::port_name),
    }
}

pub(super) fn validate_class(class: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let controller = class.str_at(&["spec", "controller"]);
    if controller.len() > LONGEST_CONTROLLER {
        errors.push(FieldError::too_long(path.child("controller"), LONGEST_CONTROLLER));
    }
    check::domain_prefixed(&mut errors, &path.child("controller"), controller);
    let Some(parameters) = class.at(&["spec", "parameters"]).and_then(Value::as_map) else { return errors };
    let path = path.child("parameters");
    if check::set(parameters, "apiGroup") {
        let group = parameters.str("apiGroup");
        check::named(&mut errors, &path.child("apiGroup"), group, names::dns1123_subdomain);
    }
    for key in ["kind", "name"] {
        check::required_named(&mut errors, &path.child(key), parameters.str(key), names::path_segment);
    }
    let scope = parameters.str("scope");
    check::one_of(&mut errors, &path.child("scope"), scope, &["Cluster", "Namespace"]);
    let namespace = path.child("namespace");
    match (scope, parameters.str("namespace")) {
        ("Namespace", "") => {
            errors.push(FieldError::required(namespace, "`parameters.scope` is set to 'Namespace'"));
        }
        ("Namespace", name) => check::named(&mut errors, &namespace, name, names::dns1123_label),
        ("Cluster", name) if !name.is_empty() => {
            errors.push(FieldError::forbidden(namespace, "`parameters.scope` is set to 'Cluster'"));
        }
        _ => {}
    }
    errors
}

#[cfg(test)]
mod tests {
    use crate::groups::tests::errors;
    use apimachinery::value;
    use apimachinery::value::Value;

    #[test]
    fn hosts_are_names_and_paths_have_no_tricks() {
        let check = |rule: Value, expected: &[&str]| {
            assert_eq!(errors("ingresses", value!({"spec": {"rules": [rule]}})), expected);
        };
        check(value!({"host": "*.example.com"}), &[]);
        check(
            value!({"host": "10.0.0.1"}),
            &[r#"spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address"#],
        );
        let backend = || value!({"resource": {"kind": "Bucket", "name": "b"}});
        check(
            value!({"http": {"paths": [{"path": "/a//b/..", "pathType": "Prefix", "backend": (backend())}]}}),
            &[
                r#"spec.rules[0].http.paths[0].path: Invalid value: "/a//b/..": must not contain '//'"#,
                r#"spec.rules[0].http.paths[0].path: Invalid value: "/a//b/..": cannot end with '/..'"#,
            ],
        );
        check(
            value!({"http": {"paths": [{"pathType": "ImplementationSpecific", "backend": {"resource": {"kind": "B"}}}]}}),
            &["spec.rules[0].http.paths[0].backend.resource.name: Required value"],
        );
    }

    #[test]
    fn a_class_names_its_controller_with_a_domain() {
        let check = |spec: Value, expected: &[&str]| {
            assert_eq!(errors("ingressclasses", value!({"spec": (spec)})), expected);
        };
        check(value!({"controller": "example.com/web"}), &[]);
        check(
            value!({"controller": "web"}),
            &[r#"spec.controller: Invalid value: "web": must be a domain-prefixed path (such as "acme.io/foo")"#],
        );
        check(
            value!({"controller": "a.b/c", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}}),
            &["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
        );
    }
}
