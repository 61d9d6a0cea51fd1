//! Tables: what `kubectl get` prints, one row per object.

use api::{Column, ResourceDescriptor};
use apimachinery::{Object, Value, value};
use jiff::Timestamp;

use crate::present::partial;
use crate::query::Query;

const NAME: Column = Column::new("Name", |object, _| object.name().into());
const CREATED: Column = Column::new("Created At", |object, _| object.creation_timestamp().into());

/// What kinds without columns of their own show.
const PLAIN: &[Column] = &[NAME, CREATED];

/// The columns of a kind.
fn columns(descriptor: &ResourceDescriptor) -> &'static [Column] {
    if descriptor.columns.is_empty() { PLAIN } else { descriptor.columns }
}

/// A table of objects, with its columns.
pub fn of(descriptor: &ResourceDescriptor, objects: &[Object], meta: &Object, query: &Query) -> Object {
    let mut table = rows_only(descriptor, objects, meta, query);
    table.set_at(&["columnDefinitions"], columns(descriptor).iter().map(definition).collect::<Value>());
    table
}

/// A table of objects, without columns, as later events of a watch carry it.
pub fn rows_only(descriptor: &ResourceDescriptor, objects: &[Object], meta: &Object, query: &Query) -> Object {
    let now = Timestamp::now();
    let include = query.get("includeObject").unwrap_or("Metadata");
    let rows: Value = objects.iter().map(|object| row(descriptor, object, now, include)).collect();
    let mut table = Object::new("meta.k8s.io/v1", "Table");
    table.set_at(&["metadata"], meta.clone().into_value());
    table.set_at(&["columnDefinitions"], Value::List(Vec::new()));
    table.set_at(&["rows"], rows);
    table
}

fn definition(column: &Column) -> Value {
    let format = if column.format.is_empty() && column.name == "Name" { "name" } else { column.format };
    value!({
        "name": column.name,
        "type": column.kind,
        "format": format,
        "description": column.description,
        "priority": column.priority,
    })
}

fn row(descriptor: &ResourceDescriptor, object: &Object, now: Timestamp, include: &str) -> Value {
    let cells: Value = columns(descriptor).iter().map(|column| (column.cell)(object, now)).collect();
    let shown = match include {
        "None" => Value::Null,
        "Object" => Value::from(object),
        _ => partial(object),
    };
    value!({"cells": cells, "object": shown})
}

/// True for a value of `includeObject` that means something.
pub fn include_is_known(include: &str) -> bool {
    matches!(include, "" | "None" | "Metadata" | "Object")
}
