//! Trees into messages.

use super::{
    EncodeError,
    wire::{Wire, put_bytes, put_key, put_message, put_number},
};
use crate::{
    json,
    schema::{Field, Schema, Type, TypeId},
    time,
    value::{Map, Value},
};
use base64::Engine;

/// A value has not the shape of its type; the field is named further up.
struct Misfit;

/// Writes messages by a schema.
pub(super) struct Writer<'s> {
    pub(super) schema: &'s Schema,
}

impl Writer<'_> {
    /// The fields of a map, as the message of a type.
    pub(super) fn message(&self, out: &mut Vec<u8>, map: &Map, of: TypeId) -> Result<(), EncodeError> {
        self.level(out, map, of, &[])
    }

    /// The fields whose numbers start with `prefix`: all, or those of a struct upstream embeds.
    fn level(&self, out: &mut Vec<u8>, map: &Map, of: TypeId, prefix: &[u32]) -> Result<(), EncodeError> {
        let described = self.schema.get(of);
        let mut embedded: Vec<u32> = Vec::new();
        for (key, value) in map.iter() {
            let Some(field) = described.field(key) else { continue };
            match field.tags.strip_prefix(prefix) {
                Some([tag]) => self.field(out, *tag, value, field).map_err(|error| {
                    error.unwrap_or_else(|| EncodeError {
                        owner: described.name.to_string(),
                        field: field.name().to_owned(),
                    })
                })?,
                Some([tag, ..]) if !embedded.contains(tag) => embedded.push(*tag),
                _ => {}
            }
        }
        for tag in embedded {
            let prefix = [prefix, &[tag]].concat();
            put_message(out, tag, |out| self.level(out, map, of, &prefix))?;
        }
        Ok(())
    }

    fn field(&self, out: &mut Vec<u8>, tag: u32, value: &Value, field: &Field) -> Result<(), Option<EncodeError>> {
        match (&field.of, value) {
            (Type::Json, _) => self.value(out, tag, value, &field.of),
            (_, Value::Null) => Ok(()),
            (Type::List(of), Value::List(list)) => list.iter().try_for_each(|item| self.value(out, tag, item, of)),
            (Type::Map(of), Value::Map(map)) => map.iter().try_for_each(|(key, value)| {
                put_message(out, tag, |out| {
                    put_bytes(out, 1, key.as_bytes());
                    // Go's zero time is null in JSON.
                    if value.is_null() && **of != Type::Json {
                        return Ok(());
                    }
                    self.value(out, 2, value, of)
                })
            }),
            (Type::List(_) | Type::Map(_), _) => Err(None),
            (of, value) => self.value(out, tag, value, of),
        }
    }

    fn value(&self, out: &mut Vec<u8>, tag: u32, value: &Value, of: &Type) -> Result<(), Option<EncodeError>> {
        match (of, value) {
            (Type::Object(id), Value::Map(map)) => {
                put_message(out, tag, |out| self.message(out, map, *id)).map_err(Some)
            }
            (Type::SchemaOrBool(id), _) => put_message(out, tag, |out| match value {
                Value::Bool(allows) => {
                    put_number(out, 1, i64::from(*allows));
                    Ok(())
                }
                // Upstream allows what it describes.
                schema => {
                    put_number(out, 1, 1);
                    self.value(out, 2, schema, &Type::Object(*id))
                }
            }),
            (Type::SchemaOrList(id), _) => put_message(out, tag, |out| match value {
                Value::List(list) => list.iter().try_for_each(|item| self.value(out, 2, item, &Type::Object(*id))),
                schema => self.value(out, 1, schema, &Type::Object(*id)),
            }),
            (Type::SchemaOrStrings(id), _) => put_message(out, tag, |out| match value {
                Value::List(list) => list.iter().try_for_each(|item| self.value(out, 2, item, &Type::String)),
                schema => self.value(out, 1, schema, &Type::Object(*id)),
            }),
            _ => scalar(out, tag, value, of).map_err(|Misfit| None),
        }
    }
}

fn scalar(out: &mut Vec<u8>, tag: u32, value: &Value, of: &Type) -> Result<(), Misfit> {
    match (of, value) {
        (Type::String, Value::String(text)) => put_bytes(out, tag, text.as_bytes()),
        (Type::Bytes, Value::String(text)) => {
            put_bytes(out, tag, &base64::engine::general_purpose::STANDARD.decode(&**text).map_err(|_| Misfit)?);
        }
        (Type::Bool, Value::Bool(truth)) => put_number(out, tag, i64::from(*truth)),
        (Type::Int32 | Type::Int64, Value::Int(number)) => put_number(out, tag, *number),
        (Type::Double, _) => {
            put_key(out, tag, Wire::Fixed64);
            out.extend_from_slice(&value.as_f64().ok_or(Misfit)?.to_le_bytes());
        }
        (Type::Quantity, Value::String(text)) => put_message(out, tag, |out| {
            put_bytes(out, 1, text.as_bytes());
            Ok(())
        })?,
        (Type::Quantity, Value::Int(number)) => return scalar(out, tag, &Value::from(number.to_string()), of),
        (Type::Time | Type::MicroTime, Value::String(text)) => {
            let instant = time::parse(text).ok_or(Misfit)?;
            put_message(out, tag, |out| {
                put_number(out, 1, instant.as_second());
                put_number(out, 2, i64::from(instant.subsec_nanosecond()));
                Ok(())
            })?;
        }
        (Type::Duration, Value::String(text)) => {
            let nanos = time::parse_duration(text).ok_or(Misfit)?;
            put_message(out, tag, |out| {
                put_number(out, 1, nanos);
                Ok(())
            })?;
        }
        (Type::IntOrString, Value::Int(number)) => put_message(out, tag, |out| {
            put_number(out, 1, 0);
            put_number(out, 2, *number);
            put_bytes(out, 3, b"");
            Ok(())
        })?,
        (Type::IntOrString, Value::String(text)) => put_message(out, tag, |out| {
            put_number(out, 1, 1);
            put_number(out, 2, 0);
            put_bytes(out, 3, text.as_bytes());
            Ok(())
        })?,
        (Type::Json | Type::Raw | Type::Fields, _) => put_message(out, tag, |out| {
            put_bytes(out, 1, &json::encode(value));
            Ok(())
        })?,
        (Type::Strings, Value::List(list)) => {
            put_message(out, tag, |out| list.iter().try_for_each(|item| scalar(out, 1, item, &Type::String)))?;
        }
        _ => return Err(Misfit),
    }
    Ok(())
}
