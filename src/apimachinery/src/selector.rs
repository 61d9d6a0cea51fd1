//! Choosing objects by their labels or fields.

mod parse;

use crate::{
    names,
    value::{Map, Value},
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
    hash::BuildHasher,
};

/// A selector makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

/// Something that has labels.
pub trait Labels {
    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for Map {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl<S: BuildHasher> Labels for HashMap<String, String, S> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

/// How a requirement looks at a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label is absent or has another value.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// The label is a greater number.
    Gt,
    /// The label is a smaller number.
    Lt,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

impl Requirement {
    /// A checked requirement.
    pub fn new(key: impl Into<String>, operator: Operator, values: Vec<String>) -> Result<Self, SelectorError> {
        let key = key.into();
        let wrong = |what: String| Err(SelectorError(what));
        if let Some(rule) = names::qualified_name(&key).first() {
            return wrong(format!("key: Invalid value: {key:?}: {rule}"));
        }
        match (operator, values.len()) {
            (Operator::In | Operator::NotIn, 0) => {
                return wrong(
                    "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".into(),
                );
            }
            (Operator::Exists | Operator::DoesNotExist, 1..) => {
                return wrong("values: Invalid value: values set must be empty for exists and does not exist".into());
            }
            (Operator::Gt | Operator::Lt, count) if count != 1 || values[0].parse::<i64>().is_err() => {
                return wrong(
                    "values: Invalid value: for 'Gt', 'Lt' operators, exactly one integer is required".into(),
                );
            }
            _ => {}
        }
        for value in &values {
            if let Some(rule) = names::label_value(value).first() {
                return wrong(format!("values[0][{key}]: Invalid value: {value:?}: {rule}"));
            }
        }
        Ok(Self { key, operator, values })
    }

    /// The name of the label.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it is looked at.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The values it is compared with.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether the labels meet it.
    pub fn matches<L: Labels + ?Sized>(&self, labels: &L) -> bool {
        let label = labels.label(&self.key);
        let listed = |label: &str| self.values.iter().any(|value| value == label);
        match self.operator {
            Operator::In => label.is_some_and(listed),
            Operator::NotIn => !label.is_some_and(listed),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::Gt => self.compare(label).is_some_and(|(label, value)| label > value),
            Operator::Lt => self.compare(label).is_some_and(|(label, value)| label < value),
        }
    }

    fn compare(&self, label: Option<&str>) -> Option<(i64, i64)> {
        Some((label?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.values.clone();
        sorted.sort_unstable();
        let (key, values) = (&self.key, sorted.join(","));
        match (self.operator, self.values.len()) {
            (Operator::In, 1) => write!(f, "{key}={values}"),
            (Operator::NotIn, 1) => write!(f, "{key}!={values}"),
            (Operator::In, _) => write!(f, "{key} in ({values})"),
            (Operator::NotIn, _) => write!(f, "{key} notin ({values})"),
            (Operator::Exists, _) => f.write_str(key),
            (Operator::DoesNotExist, _) => write!(f, "!{key}"),
            (Operator::Gt, _) => write!(f, "{key}>{values}"),
            (Operator::Lt, _) => write!(f, "{key}<{values}"),
        }
    }
}

/// Conditions on labels that must all be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    /// Nothing means that nothing matches.
    requirements: Option<Vec<Requirement>>,
}

impl Default for LabelSelector {
    fn default() -> Self {
        Self::everything()
    }
}

impl LabelSelector {
    /// Matches all labels.
    pub const fn everything() -> Self {
        Self { requirements: Some(Vec::new()) }
    }

    /// Matches no labels.
    pub const fn nothing() -> Self {
        Self { requirements: None }
    }

    /// All of some requirements.
    pub fn new(requirements: Vec<Requirement>) -> Self {
        Self { requirements: Some(requirements) }
    }

    /// Reads the form of query parameters and `kubectl -l`: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::label_selector(text)
    }

    /// Reads a plain map of labels, as the selectors of Services are.
    pub fn from_match_labels(labels: &Map) -> Self {
        let requirement = |(key, value): (&str, &str)| Requirement {
            key: key.into(),
            operator: Operator::In,
            values: vec![value.into()],
        };
        Self::new(labels.strings().map(requirement).collect())
    }

    /// Reads a `metav1.LabelSelector`: null matches nothing, an empty one everything.
    pub fn from_object(selector: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(Value::Map(selector)) = selector else {
            return Ok(Self::nothing());
        };
        let mut all = Vec::new();
        if let Some(labels) = selector.get("matchLabels").and_then(Value::as_map) {
            for (key, value) in labels.strings() {
                all.push(Requirement::new(key, Operator::In, vec![value.to_owned()])?);
            }
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_list).unwrap_or_default() {
            let operator = match expression.str("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!("{other:?} is not a valid label selector operator")));
                }
            };
            let values = expression.list("values").iter().filter_map(Value::as_str).map(Into::into).collect();
            all.push(Requirement::new(expression.str("key"), operator, values)?);
        }
        Ok(Self::new(all))
    }

    /// Whether the labels meet all requirements.
    pub fn matches<L: Labels + ?Sized>(&self, labels: &L) -> bool {
        self.requirements.as_ref().is_some_and(|all| all.iter().all(|one| one.matches(labels)))
    }

    /// Whether there is no requirement.
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether nothing can match.
    pub fn is_nothing(&self) -> bool {
        self.requirements.is_none()
    }

    /// The requirements.
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.requirements().iter().map(ToString::to_string).collect();
        f.write_str(&all.join(","))
    }
}

/// Conditions on fields that must all be met: `metadata.name=a,spec.nodeName!=b`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field.
    pub field: String,
    /// The value.
    pub value: String,
    /// Whether it must differ.
    pub negated: bool,
}

impl FieldSelector {
    /// Reads the form of query parameters. A backslash takes the meaning from `,`, `=` and `\`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Ok(Self { terms: parse::field_selector(text)? })
    }

    /// Whether the fields meet all conditions. A field that is not there is "".
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<Cow<'a, str>>) -> bool {
        self.terms.iter().all(|term| {
            let actual = field(&term.field).unwrap_or_default();
            (actual == term.value) != term.negated
        })
    }

    /// Whether there is no condition.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The conditions.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// The value a field must have, if the selector says so.
    pub fn required_value(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.field == field && !term.negated).map(|term| term.value.as_str())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |text: &str| text.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
        for (index, term) in self.terms.iter().enumerate() {
            let (comma, operator) = (if index == 0 { "" } else { "," }, if term.negated { "!=" } else { "=" });
            write!(f, "{comma}{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
