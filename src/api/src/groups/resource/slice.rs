//! Slices of the devices a driver has on offer.

use crate::check::{self, Errors};
use crate::pod_spec::check_driver;
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};
use std::collections::HashSet;

/// The most devices of one slice, and the most facts of one device.
const MOST_DEVICES: usize = 128;
const MOST_FACTS: usize = 32;

pub(super) const STRATEGY: Strategy = Strategy { validate, validate_update, generation: true, ..NOOP };

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Node", |slice, _| {
        let node = slice.str_at(&["spec", "nodeName"]);
        Value::from(print::or(node, print::UNSET))
    }),
    Column::new("Driver", |slice, _| Value::from(slice.str_at(&["spec", "driver"]))),
    Column::new("Pool", |slice, _| Value::from(slice.str_at(&["spec", "pool", "name"]))),
    AGE,
];

fn validate(slice: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = slice.map_at(&["spec"]);
    check::required(&mut errors, &path.child("driver"), spec.str("driver"));
    check_driver(&mut errors, &path.child("driver"), spec.str("driver"));
    check_pool(&mut errors, &path.child("pool"), check::part(spec, "pool"));
    check_place(&mut errors, &path, spec);
    let devices = check::list(spec, "devices").len();
    if devices > MOST_DEVICES {
        errors.push(FieldError::too_many(path.child("devices"), devices, MOST_DEVICES));
    }
    let mut seen = HashSet::new();
    for (index, device) in check::maps(spec, "devices") {
        let path = path.child("devices").index(index);
        let name = device.str("name");
        check::required_named(&mut errors, &path.child("name"), name, names::dns1123_label);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        let facts = check::part(device, "attributes").len() + check::part(device, "capacity").len();
        if facts > MOST_FACTS {
            let wrong = format!("the total number of attributes and capacities must not exceed {MOST_FACTS}");
            errors.push(FieldError::invalid(&path, i64::try_from(facts).unwrap_or(i64::MAX), wrong));
        }
        check_attributes(&mut errors, &path.child("attributes"), check::part(device, "attributes"));
    }
    errors
}

fn check_pool(errors: &mut Errors, path: &Path, pool: &Map) {
    let name = pool.str("name");
    if name.is_empty() {
        errors.push(FieldError::required(path.child("name"), ""));
    }
    for part in name.split('/').filter(|_| !name.is_empty()) {
        check::named(errors, &path.child("name"), part, names::dns1123_subdomain);
    }
    let count = check::number(pool, "resourceSliceCount").unwrap_or_default();
    if count <= 0 {
        errors.push(FieldError::invalid(path.child("resourceSliceCount"), count, "must be greater than zero"));
    }
    check::not_negative(errors, path, pool, "generation");
}

/// Devices are on one node, on selected nodes, on all, or each says it.
fn check_place(errors: &mut Errors, path: &Path, spec: &Map) {
    let places = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
    let given: Vec<&str> =
        places.into_iter().filter(|key| spec.get(key).is_some_and(|value| !value.is_empty())).collect();
    let wrong = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match given.as_slice() {
        [] => errors.push(FieldError::required(path, wrong)),
        [_] => {}
        many => {
            let told = format!("{wrong}, but multiple fields are set");
            errors.push(FieldError::invalid(path, format!("{{{}}}", many.join(", ")), told));
        }
    }
    if !spec.str("nodeName").is_empty() {
        check::named(errors, &path.child("nodeName"), spec.str("nodeName"), names::dns1123_subdomain);
    }
}

/// An attribute has one value of one type.
fn check_attributes(errors: &mut Errors, path: &Path, attributes: &Map) {
    for (name, attribute) in attributes.iter() {
        let path = path.key(name);
        let values = ["bool", "int", "string", "version"].into_iter();
        let set = values.filter(|kind| attribute.get(kind).is_some_and(|value| !value.is_null())).count();
        match set {
            0 => errors.push(FieldError::required(path, "exactly one value must be specified")),
            1 => {}
            _ => errors.push(FieldError::invalid(path, attribute.clone(), "exactly one value must be specified")),
        }
    }
}

fn validate_update(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    for path in [["spec", "driver"].as_slice(), &["spec", "pool", "name"], &["spec", "nodeName"]] {
        check::unchanged(&mut errors, &Path::new(path.join(".")), new.at(path), old.at(path));
    }
    errors
}

#[cfg(test)]
mod tests {
    use crate::groups::tests::{cells, errors, update_errors};
    use apimachinery::value;
    use apimachinery::value::Value;

    fn slice(change: (&str, Value)) -> Value {
        let mut slice = value!({"metadata": {"name": "s"}, "spec": {"driver": "gpu.example.com", "nodeName": "n",
            "pool": {"name": "n", "resourceSliceCount": 1}, "devices": [{"name": "a", "attributes": {"x": {"int": 1}}}]}});
        slice.set_at(&["spec", change.0], change.1);
        slice
    }

    #[test]
    fn slices_are_checked_and_printed() {
        let check = |key: &str, value: Value, expected: &[&str]| {
            assert_eq!(errors("resourceslices", slice((key, value))), expected);
        };
        check("x", Value::Null, &[]);
        check(
            "nodeName",
            Value::Null,
            &[
                "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
            ],
        );
        check(
            "devices",
            value!([{"name": "a"}, {"name": "a", "attributes": {"y": {}}}]),
            &[
                r#"spec.devices[1].name: Duplicate value: "a""#,
                "spec.devices[1].attributes[y]: Required value: exactly one value must be specified",
            ],
        );
        let moved = update_errors("resourceslices", slice(("nodeName", "m".into())), slice(("x", Value::Null)));
        assert_eq!(moved, [r#"spec.nodeName: Invalid value: "m": field is immutable"#]);
        assert_eq!(
            cells("resourceslices", slice(("x", Value::Null))),
            "Name=s Node=n Driver=gpu.example.com Pool=n Age=<unknown>"
        );
    }
}
