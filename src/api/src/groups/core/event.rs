//! Events.

use crate::check::Errors;
use crate::print::{self, NAME};
use crate::resource::{Column, NOOP, NameRule, Strategy};
use apimachinery::field::FieldError;
use apimachinery::object::Object;
use apimachinery::value::Value;

pub(super) const STRATEGY: Strategy =
    Strategy { validate, create_on_update: true, name: NameRule::PathSegment, ..NOOP };

/// An event lives beside what it is about; what is about the whole cluster is told of in `default`.
fn validate(event: &Object) -> Errors {
    let mut errors = Errors::new();
    let (about, own) = (event.str_at(&["involvedObject", "namespace"]), event.namespace());
    let fits = about == own || (about.is_empty() && matches!(own, "default" | "kube-system" | ""));
    if !fits {
        errors.push(FieldError::invalid("involvedObject.namespace", about, "does not match event.namespace"));
    }
    errors
}

pub(super) const COLUMNS: &[Column] = &[
    Column::new("Last Seen", |event, now| Value::from(print::since(last_seen(event), now))),
    Column::new("Type", |event, _| Value::from(event.str_at(&["type"]))),
    Column::new("Reason", |event, _| Value::from(event.str_at(&["reason"]))),
    Column::new("Object", |event, _| Value::from(object(event))),
    Column::new("Subobject", |event, _| Value::from(event.str_at(&["involvedObject", "fieldPath"]))).wide(),
    Column::new("Source", |event, _| Value::from(source(event))).wide(),
    Column::new("Message", |event, _| Value::from(event.str_at(&["message"]).trim())),
    Column::new("First Seen", |event, now| Value::from(print::since(first_seen(event), now))).wide(),
    Column::new("Count", |event, _| Value::from(count(event))).wide(),
    Column { priority: 1, ..NAME },
];

fn last_seen(event: &Object) -> &str {
    let series = event.str_at(&["series", "lastObservedTime"]);
    print::or(print::or(series, event.str_at(&["lastTimestamp"])), first_seen(event))
}

fn first_seen(event: &Object) -> &str {
    print::or(event.str_at(&["firstTimestamp"]), event.str_at(&["eventTime"]))
}

fn count(event: &Object) -> i64 {
    let series = event.i64_at(&["series", "count"]);
    series.or_else(|| event.i64_at(&["count"])).unwrap_or(1).max(1)
}

fn object(event: &Object) -> String {
    let (kind, name) = (event.str_at(&["involvedObject", "kind"]), event.str_at(&["involvedObject", "name"]));
    let kind = kind.to_lowercase();
    if name.is_empty() { kind } else { format!("{kind}/{name}") }
}

fn source(event: &Object) -> String {
    let component = print::or(event.str_at(&["source", "component"]), event.str_at(&["reportingComponent"]));
    let host = print::or(event.str_at(&["source", "host"]), event.str_at(&["reportingInstance"]));
    if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") }
}
