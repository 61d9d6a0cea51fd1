//! The group `apiregistration.k8s.io`: API servers behind this one.

use crate::fill::{fill, part, spec};
use crate::print::{AGE, NAME};
use crate::resource::{Column, NOOP, ResourceDescriptor as Row, Strategy};
use crate::status;
use apimachinery::object::Object;
use apimachinery::value::Value;

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[Row::cluster(("apiregistration.k8s.io", "v1"), "APIService", "apiservices")
    .categories(&["api-extensions"])
    .stored_in("apiregistration.k8s.io/apiservices")
    .strategy(&STRATEGY)
    .columns(COLUMNS)
    .selectable(&["spec.group", "spec.version"])
    .with_status()];

const STRATEGY: Strategy = Strategy {
    default: |service| {
        if let Some(target) = part(spec(service), "service") {
            fill(target, "port", 443);
        }
    },
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    warnings: |service| {
        let elsewhere = !service.map_at(&["spec", "service"]).is_empty();
        let text =
            "requests are not passed on to other API servers by this release: the object is kept but has no effect";
        elsewhere.then(|| text.to_owned()).into_iter().collect()
    },
    ..NOOP
};

const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Service", |service, _| {
        let target = service.map_at(&["spec", "service"]);
        let text = format!("{}/{}", target.str("namespace"), target.str("name"));
        Value::from(if target.is_empty() { "Local".to_owned() } else { text })
    }),
    Column::new("Available", |service, _| Value::from(available(service))),
    AGE,
];

fn available(service: &Object) -> String {
    let conditions = service.list_at(&["status", "conditions"]);
    let found = conditions.iter().find(|one| one.str("type") == "Available");
    match found.map(|one| (one.str("status"), one.str("reason"))) {
        None => "Unknown".to_owned(),
        Some(("True", _)) => "True".to_owned(),
        Some((status, reason)) => format!("{status} ({reason})"),
    }
}
