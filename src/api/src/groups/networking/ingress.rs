//! Ingresses and their classes.

mod rules;

use crate::check::{self, Errors};
use crate::fill::{fill_text, part, spec};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::Path;
use apimachinery::object::Object;
use apimachinery::value::Value;

pub(super) const STRATEGY: Strategy = Strategy {
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate: rules::validate,
    warnings: |ingress| {
        let old = ingress.annotation("kubernetes.io/ingress.class").is_some();
        let told =
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
        old.then(|| told.to_owned()).into_iter().collect()
    },
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

pub(super) const CLASS: Strategy = Strategy {
    default: |class| {
        if let Some(parameters) = part(spec(class), "parameters") {
            fill_text(parameters, "scope", "Cluster");
        }
    },
    validate: rules::validate_class,
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
