//! Columns of `ComponentStatus`.

use crate::print::NAME;
use crate::resource::Column;
use apimachinery::object::Object;
use apimachinery::value::Value;

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Status", |component, _| {
        Value::from(match healthy(component).map(|condition| condition.str("status")) {
            None => "Unknown",
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
        })
    }),
    Column::new("Message", |component, _| {
        Value::from(healthy(component).map_or("", |condition| condition.str("message")))
    }),
    Column::new("Error", |component, _| Value::from(healthy(component).map_or("", |condition| condition.str("error")))),
];

fn healthy(component: &Object) -> Option<&Value> {
    component.list_at(&["conditions"]).iter().find(|condition| condition.str("type") == "Healthy")
}
