//! Ingresses and their classes.

use crate::check::{self, Errors};
use crate::fill::{fill_text, part, spec};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};

pub(super) const STRATEGY: Strategy = Strategy {
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate,
    generation: true,
    ..NOOP
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Class", |ingress, _| print::text_or_none(ingress, &["spec", "ingressClassName"])),
    Column::new("Hosts", |ingress, _| Value::from(hosts(ingress))),
    Column::new("Address", |ingress, _| Value::from(print::load_balancer(ingress))),
    Column::new("Ports", |ingress, _| {
        let tls = !ingress.list_at(&["spec", "tls"]).is_empty();
        Value::from(if tls { "80, 443" } else { "80" })
    }),
    AGE,
];

fn hosts(ingress: &Object) -> String {
    let rules = ingress.list_at(&["spec", "rules"]);
    let named: Vec<_> = rules.iter().map(|rule| rule.str("host")).filter(|host| !host.is_empty()).collect();
    match named.len() {
        0 => "*".to_owned(),
        more @ 4.. => format!("{} + {} more...", named[..3].join(","), more - 3),
        _ => named.join(","),
    }
}

fn validate(ingress: &Object) -> Errors {
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
        let path = path.child("rules").index(index);
        let host = rule.str("host");
        if host.contains('*') {
            check::named(&mut errors, &path.child("host"), host, names::wildcard_subdomain);
        } else if !host.is_empty() {
            check::named(&mut errors, &path.child("host"), host, names::dns1123_subdomain);
        }
        let Some(http) = rule.get("http").and_then(Value::as_map) else { continue };
        let path = path.child("http").child("paths");
        if check::list(http, "paths").is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        for (index, entry) in check::maps(http, "paths") {
            check_path(&mut errors, &path.index(index), entry);
        }
    }
    errors
}

fn check_path(errors: &mut Errors, path: &Path, entry: &Map) {
    let (kind, place) = (entry.str("pathType"), entry.str("path"));
    match kind {
        "" => errors.push(FieldError::required(path.child("pathType"), "pathType must be specified")),
        "Exact" | "Prefix" if !place.starts_with('/') => {
            errors.push(FieldError::invalid(path.child("path"), place, "must be an absolute path"));
        }
        "Exact" | "Prefix" => {
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if place.contains(bad) {
                    let wrong = format!("must not contain '{bad}'");
                    errors.push(FieldError::invalid(path.child("path"), place, wrong));
                }
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
        (Some(service), None) => {
            let path = path.child("service");
            check::required_named(errors, &path.child("name"), service.str("name"), names::dns1035_label);
            let port = check::part(service, "port");
            let number = check::number(port, "number").filter(|number| *number != 0);
            match (number, port.str("name")) {
                (None, "") => errors.push(FieldError::required(&path, "port name or number is required")),
                (Some(_), name) if !name.is_empty() => {
                    errors.push(FieldError::invalid(&path, "", "cannot set both port name & port number"));
                }
                (Some(number), _) => check::port(errors, &path.child("port").child("number"), number),
                (None, name) => check::named(errors, &path.child("port").child("name"), name, names::port_name),
            }
        }
        (None, Some(_)) => {}
    }
}

pub(super) const CLASS: Strategy = Strategy {
    default: |class| {
        if let Some(parameters) = part(spec(class), "parameters") {
            fill_text(parameters, "scope", "Cluster");
        }
    },
    validate_update: |new, old| {
        let mut errors = Errors::new();
        let path = ["spec", "controller"];
        check::unchanged(&mut errors, &Path::new("spec.controller"), new.at(&path), old.at(&path));
        errors
    },
    generation: true,
    ..NOOP
};

pub(super) const CLASS_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Controller", |class, _| Value::from(class.str_at(&["spec", "controller"]))),
    Column::new("Parameters", |class, _| {
        let parameters = class.map_at(&["spec", "parameters"]);
        let group = parameters.str("apiGroup");
        let dot = if group.is_empty() { "" } else { "." };
        let text = format!("{}{dot}{group}/{}", parameters.str("kind"), parameters.str("name"));
        Value::from(if parameters.is_empty() { print::NONE.to_owned() } else { text })
    }),
    AGE,
];
