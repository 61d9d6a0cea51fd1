//! Pod disruption budgets.

use crate::check::{self, Errors};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::object::Object;
use apimachinery::value::Value;

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
    Column::new("Min Available", |budget, _| amount(budget, "minAvailable")),
    Column::new("Max Unavailable", |budget, _| amount(budget, "maxUnavailable")),
    Column::new("Allowed Disruptions", |budget, _| print::number(budget, &["status", "disruptionsAllowed"]))
        .kind("integer"),
    AGE,
];

fn amount(budget: &Object, key: &str) -> Value {
    Value::from(match budget.at(&["spec", key]) {
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::String(text)) => text.to_string(),
        _ => "N/A".to_owned(),
    })
}

fn validate(budget: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = budget.map_at(&["spec"]);
    let given = |key| spec.get(key).filter(|value| !value.is_null());
    if given("minAvailable").is_some() && given("maxUnavailable").is_some() {
        errors.push(FieldError::invalid(
            &path,
            Value::Map(spec.clone()),
            "minAvailable and maxUnavailable cannot be both set",
        ));
    }
    for key in ["minAvailable", "maxUnavailable"] {
        check::number_or_percent(&mut errors, &path.child(key), given(key));
        check::at_most_all(&mut errors, &path.child(key), given(key));
    }
    if let Some(selector) = given("selector") {
        check::selector(&mut errors, &path.child("selector"), selector);
    }
    let policy = spec.str("unhealthyPodEvictionPolicy");
    let known = ["AlwaysAllow", "IfHealthyBudget"];
    check::optional_one_of(&mut errors, &path.child("unhealthyPodEvictionPolicy"), policy, &known);
    errors
}
