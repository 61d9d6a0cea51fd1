//! Reading trees: writing them with serde, and viewing them as typed values.

use super::{ConvertError, Key, Map, Value};
use serde::de::{self, IntoDeserializer, Visitor, value::StrDeserializer};
use serde::ser::{Serialize, SerializeMap, Serializer};

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::String(text) => serializer.serialize_str(text),
            Self::List(list) => serializer.collect_seq(list),
            Self::Map(map) => map.serialize(serializer),
        }
    }
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            fields.serialize_entry(key.as_str(), value)?;
        }
        fields.end()
    }
}

impl<'de> de::Deserializer<'de> for &'de Value {
    type Error = ConvertError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConvertError> {
        match self {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Int(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::List(list) => de::value::SeqDeserializer::new(list.iter()).deserialize_any(visitor),
            Value::Map(map) => visitor.visit_map(Fields { fields: map.iter(), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConvertError> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ConvertError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConvertError> {
        match self {
            Value::String(text) => visitor.visit_enum(text.as_ref().into_deserializer()),
            Value::Map(map) => {
                visitor.visit_enum(de::value::MapAccessDeserializer::new(Fields { fields: map.iter(), value: None }))
            }
            other => Err(ConvertError(format!("a variant must be text or an object, not {}", other.type_name()))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// Views the fields of a map as a typed value.
pub(super) fn view_map<'de, T: de::Deserialize<'de>>(map: &'de Map) -> Result<T, ConvertError> {
    T::deserialize(de::value::MapAccessDeserializer::new(Fields { fields: map.iter(), value: None }))
}

impl<'de> IntoDeserializer<'de, ConvertError> for &'de Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Walks the fields of a map for a typed view.
struct Fields<'de, I: Iterator<Item = (&'de Key, &'de Value)>> {
    fields: I,
    value: Option<(&'de str, &'de Value)>,
}

impl<'de, I: Iterator<Item = (&'de Key, &'de Value)>> de::MapAccess<'de> for Fields<'de, I> {
    type Error = ConvertError;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ConvertError> {
        self.value = self.fields.next().map(|(key, value)| (key.as_str(), value));
        let Some((key, _)) = self.value else {
            return Ok(None);
        };
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ConvertError> {
        let (key, value) =
            self.value.take().ok_or_else(|| ConvertError("a value was asked for before its key".into()))?;
        seed.deserialize(value).map_err(|ConvertError(message)| ConvertError(format!("{key}: {message}")))
    }
}
