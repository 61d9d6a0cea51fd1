//! Flow schemas and priority levels.

mod rules;

use crate::fill::{fill, fill_number, make, part, spec};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::object::Object;
use apimachinery::value::Value;

pub(super) const FLOW: Strategy = Strategy {
    default: |flow| fill_number(spec(flow), "matchingPrecedence", 1000),
    validate: rules::validate_flow,
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    generation: true,
    ..NOOP
};

pub(super) const FLOW_COLUMNS: &[Column] = &[
    NAME,
    Column::new("PriorityLevel", |flow, _| Value::from(flow.str_at(&["spec", "priorityLevelConfiguration", "name"]))),
    Column::new("MatchingPrecedence", |flow, _| print::number(flow, &["spec", "matchingPrecedence"])).kind("integer"),
    Column::new("DistinguisherMethod", |flow, _| print::text_or_none(flow, &["spec", "distinguisherMethod", "type"])),
    AGE,
    Column::new("MissingPL", |flow, _| {
        let conditions = flow.list_at(&["status", "conditions"]);
        let dangling = conditions.iter().find(|one| one.str("type") == "Dangling");
        Value::from(dangling.map_or("?", |one| one.str("status")))
    }),
];

pub(super) const LEVEL: Strategy = Strategy {
    default: |level| {
        let spec = spec(level);
        if let Some(limited) = part(spec, "limited") {
            fill(limited, "nominalConcurrencyShares", 30);
            fill(limited, "lendablePercent", 0);
            let response = make(limited, "limitResponse");
            if let Some(queuing) = part(response, "queuing") {
                fill_number(queuing, "queues", 64);
                fill_number(queuing, "handSize", 8);
                fill_number(queuing, "queueLengthLimit", 50);
            }
        } else if let Some(exempt) = part(spec, "exempt") {
            fill(exempt, "nominalConcurrencyShares", 0);
            fill(exempt, "lendablePercent", 0);
        }
    },
    validate: rules::validate_level,
    ..FLOW
};

pub(super) const LEVEL_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Type", |level, _| Value::from(level.str_at(&["spec", "type"]))),
    Column::new("NominalConcurrencyShares", |level, _| limited(level, &["nominalConcurrencyShares"])),
    Column::new("Queues", |level, _| limited(level, &["limitResponse", "queuing", "queues"])),
    Column::new("HandSize", |level, _| limited(level, &["limitResponse", "queuing", "handSize"])),
    Column::new("QueueLengthLimit", |level, _| limited(level, &["limitResponse", "queuing", "queueLengthLimit"])),
    AGE,
];

fn limited(level: &Object, path: &[&str]) -> Value {
    let number = level.i64_at(&[&["spec", "limited"], path].concat());
    Value::from(number.map_or(print::NONE.to_owned(), |number| number.to_string()))
}
