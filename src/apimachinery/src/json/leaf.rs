//! What scalars become in fields of each type.

use super::DecodeError;
use crate::{quantity::Quantity, schema::Type, time, value::Value};
use std::borrow::Cow;

/// The error of a value in a field of another type; the reader fills in where.
pub(super) fn mismatch(found: &str, of: &Type) -> DecodeError {
    DecodeError::Type {
        found: found.to_owned(),
        owner: String::new(),
        path: String::new(),
        expected: go_type(of).to_owned(),
    }
}

fn meaningless(why: impl Into<String>) -> DecodeError {
    DecodeError::Value { path: String::new(), why: why.into() }
}

/// What upstream's messages call the type.
fn go_type(of: &Type) -> &'static str {
    match of {
        Type::String => "string",
        Type::Bytes => "[]uint8",
        Type::Bool => "bool",
        Type::Int32 => "int32",
        Type::Int64 => "int64",
        Type::Double => "float64",
        Type::Quantity => "resource.Quantity",
        Type::Time => "v1.Time",
        Type::MicroTime => "v1.MicroTime",
        Type::Duration => "v1.Duration",
        Type::IntOrString => "intstr.IntOrString",
        Type::List(_) | Type::Strings => "slice",
        Type::Map(_) => "map",
        _ => "struct",
    }
}

/// Text in a field.
pub(crate) fn string(of: &Type, text: Cow<'_, str>) -> Result<Value, DecodeError> {
    match of {
        Type::String | Type::Json | Type::Raw | Type::Fields | Type::IntOrString | Type::Duration => {
            Ok(Value::from(text))
        }
        Type::Bytes => bytes(text),
        Type::Quantity => match text.trim().parse::<Quantity>() {
            Ok(amount) => Ok(Value::from(amount.to_string())),
            Err(error) => Err(meaningless(error.to_string())),
        },
        Type::Time => time(&text, "2006-01-02T15:04:05Z07:00", time::format),
        Type::MicroTime => time(&text, "2006-01-02T15:04:05.000000Z07:00", time::format_micro),
        other => Err(mismatch("string", other)),
    }
}

fn bytes(text: Cow<'_, str>) -> Result<Value, DecodeError> {
    use base64::Engine;
    // Go lets line breaks pass.
    let text = if text.contains(['\n', '\r']) { Cow::Owned(text.replace(['\n', '\r'], "")) } else { text };
    let engine = base64::engine::general_purpose::STANDARD;
    match engine.decode(text.as_bytes()) {
        Ok(_) => Ok(Value::from(text)),
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol { offset: at, .. }) => {
            Err(meaningless(format!("illegal base64 data at input byte {at}")))
        }
        Err(_) => Err(meaningless(format!("illegal base64 data at input byte {}", text.len()))),
    }
}

fn time(text: &str, layout: &str, format: fn(jiff::Timestamp) -> String) -> Result<Value, DecodeError> {
    match time::parse(text) {
        Some(time) => Ok(Value::from(format(time))),
        None => Err(meaningless(format!("parsing time {text:?} as {layout:?}: cannot parse {text:?}"))),
    }
}

/// A number in a field, as it was written.
pub(super) fn number(of: &Type, digits: &str) -> Result<Value, DecodeError> {
    let wrong = || mismatch(&format!("number {digits}"), of);
    match of {
        Type::Json | Type::Raw | Type::Fields | Type::Double => {
            free_number(digits).ok_or_else(|| mismatch(&format!("number {digits}"), &Type::Double))
        }
        Type::Int32 => digits.parse::<i32>().map(Value::from).map_err(|_| wrong()),
        Type::IntOrString => digits.parse::<i32>().map(Value::from).map_err(|_| wrong()),
        Type::Int64 => digits.parse::<i64>().map(Value::from).map_err(|_| wrong()),
        Type::Quantity => match digits.parse::<Quantity>() {
            Ok(amount) => Ok(Value::from(amount.to_string())),
            Err(error) => Err(meaningless(error.to_string())),
        },
        other => Err(mismatch("number", other)),
    }
}

/// Nothing if no number can hold it: JSON has no infinity, so what was read could not be written.
fn free_number(digits: &str) -> Option<Value> {
    let whole = digits.parse::<i64>().ok().map(Value::Int);
    whole.or_else(|| digits.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::number))
}

/// A truth value in a field.
pub(super) fn truth(of: &Type, truth: bool) -> Result<Value, DecodeError> {
    match of {
        Type::Bool | Type::Json | Type::Raw | Type::Fields | Type::SchemaOrBool(_) => Ok(Value::Bool(truth)),
        other => Err(mismatch("bool", other)),
    }
}

/// Inside lists and free maps Go has zero values where JSON has null.
pub(crate) fn zero_for_null(of: &Type, value: Value) -> Value {
    if !value.is_null() {
        return value;
    }
    match of {
        Type::String | Type::Bytes => Value::from(""),
        Type::Bool => Value::Bool(false),
        Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => Value::Int(0),
        Type::Quantity => Value::from("0"),
        Type::Object(_) => Value::map(),
        _ => Value::Null,
    }
}
