//! A column of `kubectl get`: how one fact of an object is printed.

use apimachinery::object::Object;
use apimachinery::value::Value;
use jiff::Timestamp;

/// A column of `kubectl get`.
#[derive(Clone, Copy)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// The OpenAPI type of a cell: `string`, `integer`, `date`, …
    pub kind: &'static str,
    /// The OpenAPI format of a cell, `name` for the name column.
    pub format: &'static str,
    /// What the column says.
    pub description: &'static str,
    /// 0 is always shown, more only with `-o wide`.
    pub priority: i32,
    /// The cell of an object at a point in time.
    pub cell: fn(&Object, Timestamp) -> Value,
}

impl Column {
    /// A column of text that is always shown.
    pub const fn new(name: &'static str, cell: fn(&Object, Timestamp) -> Value) -> Self {
        Self { name, kind: "string", format: "", description: "", priority: 0, cell }
    }

    /// The same with cells of another type.
    #[must_use]
    pub const fn kind(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    /// The same, shown only with `-o wide`.
    #[must_use]
    pub const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    /// The same with a description.
    #[must_use]
    pub const fn about(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }
}
