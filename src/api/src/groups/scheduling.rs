//! The group `scheduling.k8s.io`.

use crate::check::{self, Errors};
use crate::fill::fill;
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, ResourceDescriptor as Row, Strategy};
use apimachinery::field::{FieldError, Path};
use apimachinery::value::Value;

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[Row::cluster(("scheduling.k8s.io", "v1"), "PriorityClass", "priorityclasses")
    .strategy(&STRATEGY)
    .columns(COLUMNS)
    .short(&["pc"])];

/// Only the system's own classes may be above this.
const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;

const STRATEGY: Strategy = Strategy {
    default: |class| fill(class.as_map_mut(), "preemptionPolicy", "PreemptLowerPriority"),
    validate: |class| {
        let mut errors = Errors::new();
        let value = class.i64_at(&["value"]).unwrap_or_default();
        if class.name().starts_with("system-") {
            let known = ["system-node-critical", "system-cluster-critical"];
            if !known.contains(&class.name()) {
                let wrong = "priority class names with 'system-' prefix are reserved for system use only";
                errors.push(FieldError::forbidden("metadata.name", wrong));
            }
        } else if value > HIGHEST_USER_PRIORITY {
            let wrong = format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}");
            errors.push(FieldError::forbidden("value", wrong));
        }
        let policy = class.str_at(&["preemptionPolicy"]);
        let known = ["Never", "PreemptLowerPriority"];
        check::optional_one_of(&mut errors, &Path::new("preemptionPolicy"), policy, &known);
        errors
    },
    validate_update: |new, old| {
        let mut errors = Errors::new();
        for key in ["value", "preemptionPolicy"] {
            check::unchanged(&mut errors, &Path::new(key), new.get(key), old.get(key));
        }
        errors
    },
    generation: true,
    ..NOOP
};

const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Value", |class, _| print::number(class, &["value"])).kind("integer"),
    Column::new("Global-Default", |class, _| Value::from(class.bool_at(&["globalDefault"]))).kind("boolean"),
    AGE,
    Column::new("PreemptionPolicy", |class, _| Value::from(class.str_at(&["preemptionPolicy"]))),
];
