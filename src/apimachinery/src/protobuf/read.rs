//! Messages into trees.

use super::{
    DecodeError, MAGIC, decode,
    wire::{Input, Wire, WireError},
};
use crate::{
    json::{self, MAX_DEPTH, leaf},
    schema::{Field, ObjectType, Schema, Tagged, Type, TypeId},
    time,
    value::{Key, Map, Value},
};
use base64::Engine;
use std::borrow::Cow;

/// Reads messages by a schema.
pub(super) struct Reader<'s> {
    schema: &'s Schema,
    depth: usize,
}

/// As [`Schema::by_tag`], inside a struct upstream embeds.
fn embedded<'s>(of: &'s ObjectType, prefix: &[u32], tag: u32) -> Tagged<'s> {
    let mut found = Tagged::Unknown;
    for field in &of.fields {
        match field.tags.strip_prefix(prefix) {
            Some([only]) if *only == tag => return Tagged::Field(field),
            Some([first, ..]) if *first == tag => found = Tagged::Embedded,
            _ => {}
        }
    }
    found
}

impl<'s> Reader<'s> {
    pub(super) fn new(schema: &'s Schema) -> Self {
        Self { schema, depth: 0 }
    }

    /// The message of a type, into a map.
    pub(super) fn message(&mut self, bytes: &[u8], of: TypeId, map: &mut Map) -> Result<(), DecodeError> {
        self.level(bytes, of, &[], map)
    }

    fn level(&mut self, bytes: &[u8], of: TypeId, prefix: &[u32], map: &mut Map) -> Result<(), DecodeError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(WireError::TooDeep.into());
        }
        let schema = self.schema;
        let mut input = Input::new(bytes);
        while let Some((tag, wire)) = input.key()? {
            let found = if prefix.is_empty() { schema.by_tag(of, tag) } else { embedded(schema.get(of), prefix, tag) };
            match found {
                Tagged::Field(field) => self.field(&mut input, wire, field, map)?,
                Tagged::Embedded => self.level(input.bytes(wire)?, of, &[prefix, &[tag]].concat(), map)?,
                Tagged::Unknown => input.skip(wire)?,
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn field(&mut self, input: &mut Input<'_>, wire: Wire, field: &Field, map: &mut Map) -> Result<(), DecodeError> {
        match &field.of {
            Type::List(of) => {
                let packed = wire == Wire::Bytes && matches!(**of, Type::Int32 | Type::Int64);
                let list = slot(map, field).make_list();
                if packed {
                    let mut numbers = Input::new(input.bytes(wire)?);
                    while let Some(number) = numbers.packed()? {
                        list.push(Value::Int(number));
                    }
                } else {
                    list.push(self.value(input, wire, of)?);
                }
            }
            Type::Map(of) => {
                let (key, value) = self.entry(input.bytes(wire)?, of)?;
                slot(map, field).make_map().insert(key, value);
            }
            of => {
                let value = self.value(input, wire, of)?;
                if field.keeps(&value, false) {
                    *slot(map, field) = value;
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, bytes: &[u8], of: &Type) -> Result<(Key, Value), DecodeError> {
        let (mut key, mut value) = (Key::from(""), None);
        let mut input = Input::new(bytes);
        while let Some((tag, wire)) = input.key()? {
            match tag {
                1 => key = Key::from(input.text(wire)?),
                2 => value = Some(self.value(&mut input, wire, of)?),
                _ => input.skip(wire)?,
            }
        }
        Ok((key, value.unwrap_or_else(|| leaf::zero_for_null(of, Value::Null))))
    }

    fn value(&mut self, input: &mut Input<'_>, wire: Wire, of: &Type) -> Result<Value, DecodeError> {
        Ok(match of {
            Type::String => Value::from(input.text(wire)?),
            Type::Bytes => Value::from(base64::engine::general_purpose::STANDARD.encode(input.bytes(wire)?)),
            Type::Bool => Value::Bool(input.number(wire)? != 0),
            #[expect(clippy::cast_possible_truncation, reason = "protobuf says that extra bits are dropped")]
            Type::Int32 => Value::Int(i64::from(input.number(wire)? as i32)),
            Type::Int64 => Value::Int(input.number(wire)?),
            Type::Double => Value::number(input.double(wire)?),
            Type::Object(id) => {
                let mut map = Map::new();
                self.message(input.bytes(wire)?, *id, &mut map)?;
                Value::Map(map)
            }
            Type::List(_) | Type::Map(_) => return Err(WireError::WireType.into()),
            other => self.special(input.bytes(wire)?, other)?,
        })
    }

    /// The messages that stand for something else in JSON.
    fn special(&mut self, bytes: &[u8], of: &Type) -> Result<Value, DecodeError> {
        let mut fields = Input::new(bytes);
        match of {
            Type::Quantity => {
                let text = first_text(&mut fields)?;
                let text = if text.is_empty() { "0" } else { text };
                leaf::string(of, Cow::Borrowed(text)).map_err(|error| DecodeError::Value(error.to_string()))
            }
            Type::Time => instant(&mut fields, time::format),
            Type::MicroTime => instant(&mut fields, time::format_micro),
            Type::Duration => Ok(Value::from(time::format_duration(numbers(&mut fields)?[0]))),
            Type::IntOrString => int_or_string(&mut fields),
            Type::Json | Type::Raw | Type::Fields => self.nested_json(&mut fields),
            Type::Strings => strings(&mut fields, 1),
            Type::SchemaOrBool(id) => self.schema_or(&mut fields, *id, 2),
            Type::SchemaOrList(id) | Type::SchemaOrStrings(id) => {
                // Field 1 is the one schema, field 2 the list.
                let mut probe = Input::new(bytes);
                match (probe.key()?, of) {
                    (Some((2, _)), Type::SchemaOrStrings(_)) => strings(&mut fields, 2),
                    (Some((2, _)), _) => self.schemas(&mut fields, *id),
                    _ => self.schema_or(&mut fields, *id, 1),
                }
            }
            _ => Err(WireError::WireType.into()),
        }
    }

    fn schemas(&mut self, fields: &mut Input<'_>, id: TypeId) -> Result<Value, DecodeError> {
        let mut list = Vec::new();
        while let Some((tag, wire)) = fields.key()? {
            if tag == 2 { list.push(self.value(fields, wire, &Type::Object(id))?) } else { fields.skip(wire)? }
        }
        Ok(Value::List(list))
    }

    /// A schema in field `wanted`, or else the truth value in field 1.
    fn schema_or(&mut self, fields: &mut Input<'_>, id: TypeId, wanted: u32) -> Result<Value, DecodeError> {
        let (mut allows, mut described) = (false, None);
        while let Some((tag, wire)) = fields.key()? {
            match tag {
                tag if tag == wanted => described = Some(self.value(fields, wire, &Type::Object(id))?),
                1 => allows = fields.number(wire)? != 0,
                _ => fields.skip(wire)?,
            }
        }
        Ok(described.unwrap_or(if wanted == 1 { Value::Null } else { Value::Bool(allows) }))
    }

    /// An object that is JSON inside, or a whole other object with envelope.
    fn nested_json(&mut self, fields: &mut Input<'_>) -> Result<Value, DecodeError> {
        let mut raw: &[u8] = &[];
        while let Some((tag, wire)) = fields.key()? {
            if tag == 1 { raw = fields.bytes(wire)? } else { fields.skip(wire)? }
        }
        if raw.is_empty() {
            return Ok(Value::Null);
        }
        if raw.starts_with(MAGIC) {
            return decode(raw, self.schema, None).map(crate::object::Object::into_value);
        }
        json::decode_value(raw).map_err(|error| DecodeError::Value(error.to_string()))
    }
}

fn slot<'m>(map: &'m mut Map, field: &Field) -> &'m mut Value {
    let index = map.position(field.name()).unwrap_or_else(|| {
        map.push(field.key.clone(), Value::Null);
        map.len() - 1
    });
    map.nth_mut(index)
}

fn first_text<'b>(fields: &mut Input<'b>) -> Result<&'b str, DecodeError> {
    let mut text = "";
    while let Some((tag, wire)) = fields.key()? {
        if tag == 1 { text = fields.text(wire)? } else { fields.skip(wire)? }
    }
    Ok(text)
}

/// The texts in field `wanted`.
fn strings(fields: &mut Input<'_>, wanted: u32) -> Result<Value, DecodeError> {
    let mut list = Vec::new();
    while let Some((tag, wire)) = fields.key()? {
        if tag == wanted { list.push(Value::from(fields.text(wire)?)) } else { fields.skip(wire)? }
    }
    Ok(Value::List(list))
}

/// Fields 1 and 2 as numbers.
fn numbers(fields: &mut Input<'_>) -> Result<[i64; 2], DecodeError> {
    let mut both = [0; 2];
    while let Some((tag, wire)) = fields.key()? {
        match tag {
            1 => both[0] = fields.number(wire)?,
            2 => both[1] = fields.number(wire)?,
            _ => fields.skip(wire)?,
        }
    }
    Ok(both)
}

/// An empty message is Go's zero time, which JSON shows as null.
fn instant(fields: &mut Input<'_>, format: fn(jiff::Timestamp) -> String) -> Result<Value, DecodeError> {
    if fields.is_empty() {
        return Ok(Value::Null);
    }
    let [seconds, nanos] = numbers(fields)?;
    let nanos = i32::try_from(nanos).unwrap_or_default();
    match jiff::Timestamp::new(seconds, nanos) {
        Ok(time) => Ok(Value::from(format(time))),
        Err(_) => Err(DecodeError::Value(format!("{seconds} s is no time"))),
    }
}

fn int_or_string(fields: &mut Input<'_>) -> Result<Value, DecodeError> {
    let (mut is_text, mut number, mut text) = (false, 0, "");
    while let Some((tag, wire)) = fields.key()? {
        match tag {
            1 => is_text = fields.number(wire)? == 1,
            2 => number = fields.number(wire)?,
            3 => text = fields.text(wire)?,
            _ => fields.skip(wire)?,
        }
    }
    Ok(if is_text { Value::from(text) } else { Value::Int(number) })
}
