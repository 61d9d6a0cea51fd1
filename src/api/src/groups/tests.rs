//! Rules that hold for every kind, and the helpers for the tests of each.

mod config;
mod networking;
mod others;

use crate::resource::{Action, ResourceDescriptor};
use crate::resources;
use apimachinery::object::Object;
use apimachinery::value;
use apimachinery::value::Value;

/// The moment all tests are printed at.
pub(super) const NOW: &str = "2026-01-02T00:00:00Z";

pub(super) fn row(plural: &str) -> &'static ResourceDescriptor {
    resources().iter().find(|row| row.plural == plural).expect("a kind of that name")
}

pub(super) fn object(fields: Value) -> Object {
    Object::try_from(fields).unwrap()
}

/// The object with its defaults.
pub(super) fn defaulted(plural: &str, fields: Value) -> Object {
    let mut object = object(fields);
    (row(plural).strategy.default)(&mut object);
    object
}

/// What is wrong with a new object after defaults and preparation, one line each.
pub(super) fn errors(plural: &str, fields: Value) -> Vec<String> {
    let strategy = row(plural).strategy;
    let mut object = defaulted(plural, fields);
    (strategy.prepare_create)(&mut object);
    (strategy.validate)(&object).iter().map(ToString::to_string).collect()
}

/// What is wrong with a step from `old` to `new`.
pub(super) fn update_errors(plural: &str, new: Value, old: Value) -> Vec<String> {
    let (new, old) = (defaulted(plural, new), defaulted(plural, old));
    let errors = (row(plural).strategy.validate_update)(&new, &old);
    errors.iter().map(ToString::to_string).collect()
}

/// The cells of an object under their headings, the wide ones in brackets: `Name=a Age=5m [IP=10.0.0.1]`.
pub(super) fn cells(plural: &str, fields: Value) -> String {
    let object = object(fields);
    let now = NOW.parse().unwrap();
    let show = |column: &crate::Column| {
        let cell = (column.cell)(&object, now);
        let text = cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
        let pair = format!("{}={text}", column.name);
        if column.priority == 0 { pair } else { format!("[{pair}]") }
    };
    row(plural).columns.iter().map(show).collect::<Vec<_>>().join(" ")
}

/// Objects with nothing in them, and with everything in the wrong type.
fn odd_objects(kind: &str) -> Vec<Object> {
    let shapes = [value!({}), value!({"spec": 1, "status": [], "data": "x", "rules": {}, "metadata": "m"})];
    let deep = value!({"spec": {"template": {"spec": {"containers": [1, {"env": [{}], "ports": {}}], "volumes": [{}]}},
        "containers": [{}], "ports": [{}], "metrics": [{}], "selector": "x", "strategy": 7}, "webhooks": [{}],
        "subsets": [{"ports": [{}], "addresses": [{}]}], "subjects": [{}], "endpoints": [{}], "ports": [{}]});
    shapes
        .into_iter()
        .chain([deep])
        .map(|mut shape| {
            shape.set_at(&["kind"], kind);
            object(shape)
        })
        .collect()
}

#[test]
fn no_kind_is_upset_by_odd_objects() {
    for row in resources() {
        for mut odd in odd_objects(row.kind) {
            let old = odd.clone();
            (row.strategy.default)(&mut odd);
            (row.strategy.prepare_create)(&mut odd);
            (row.strategy.prepare_update)(&mut odd, &old);
            (row.strategy.prepare_status)(&mut odd, &old);
            (row.strategy.validate)(&odd);
            (row.strategy.validate_update)(&odd, &old);
            (row.strategy.warnings)(&odd);
            for column in row.columns {
                (column.cell)(&odd, NOW.parse().unwrap());
            }
        }
    }
}

#[test]
fn defaults_applied_twice_change_nothing() {
    for row in resources() {
        for mut once in odd_objects(row.kind) {
            (row.strategy.default)(&mut once);
            let mut twice = once.clone();
            (row.strategy.default)(&mut twice);
            assert_eq!(once, twice, "{}", row.plural);
        }
    }
}

#[test]
fn the_spec_and_the_status_are_written_apart() {
    let states = |row: &ResourceDescriptor| {
        let one = value!({"kind": (row.kind), "spec": {"a": 1}, "status": {"b": 1}});
        let two = value!({"kind": (row.kind), "spec": {"a": 2}, "status": {"b": 2}});
        (object(one), object(two))
    };
    for row in resources().iter().filter(|row| row.subresources.iter().any(|sub| sub.action == Action::Status)) {
        let (old, mut new) = states(row);
        (row.strategy.prepare_update)(&mut new, &old);
        assert_eq!(new.get("status"), old.get("status"), "{}", row.plural);
        let (old, mut new) = states(row);
        (row.strategy.prepare_status)(&mut new, &old);
        assert_eq!(new.get("spec"), old.get("spec"), "{}", row.plural);
        assert_eq!(new.get("status").unwrap().at(&["b"]), Some(&Value::Int(2)), "{}", row.plural);
    }
}

#[test]
fn every_printed_table_begins_with_a_name_or_a_time() {
    for row in resources().iter().filter(|row| !row.columns.is_empty()) {
        let first = row.columns[0].name;
        assert!(["Name", "Last Seen"].contains(&first), "{}: {first}", row.plural);
    }
}
