//! Limit ranges and resource quotas.

mod rules;

use crate::fill::{each, fill, make, spec};
use crate::print::{self, AGE, CREATED_AT, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};

pub(super) const LIMIT_RANGE: Strategy = Strategy {
    default: |range| each(spec(range), "limits").for_each(fill_limits),
    validate: rules::validate_range,
    ..NOOP
};

pub(super) const LIMIT_RANGE_COLUMNS: &[Column] = &[NAME, CREATED_AT];

/// For containers, each missing amount follows from the one before: max, default, default request.
fn fill_limits(item: &mut Map) {
    if item.str("type") != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let given = crate::check::part(item, from).clone();
        if given.is_empty() {
            continue;
        }
        let target = make(item, to);
        for (resource, amount) in given {
            fill(target, &resource, amount);
        }
    }
}

pub(super) const QUOTA: Strategy = Strategy {
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate: rules::validate_quota,
    validate_update: rules::validate_quota_update,
    validate_part: |_, new, _| rules::validate_quota_status(new),
    ..NOOP
};

pub(super) const QUOTA_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Request", |quota, _| Value::from(usage(quota, false))),
    Column::new("Limit", |quota, _| Value::from(usage(quota, true))),
    AGE,
];

fn usage(quota: &Object, limits: bool) -> String {
    let used = quota.map_at(&["status", "used"]);
    let hard = quota.map_at(&["status", "hard"]);
    let mut lines: Vec<_> = hard
        .strings()
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, hard)| format!("{name}: {}/{hard}", print::or(used.str(name), "0")))
        .collect();
    lines.sort();
    lines.join(", ")
}
