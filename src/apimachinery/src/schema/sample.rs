//! Objects with every field set, for tests that must notice when a field is lost.

use super::{Field, ObjectType, Schema, Type, TypeId};
use crate::value::{Map, Value};

/// A value of the type with every field set, down to a number of types that contain themselves. No two scalars are alike.
pub fn sample(schema: &Schema, of: TypeId) -> Value {
    let mut sampler = Sampler { schema, count: 0, above: Vec::new() };
    let mut map = sampler.object(of);
    let described = schema.get(of);
    if let Some((group, version)) = described.kinds.first() {
        let api_version = if group.is_empty() { version.to_string() } else { format!("{group}/{version}") };
        map.insert("apiVersion", api_version);
        map.insert("kind", described.kind());
    }
    Value::Map(map)
}

struct Sampler<'s> {
    schema: &'s Schema,
    count: i32,
    above: Vec<TypeId>,
}

impl Sampler<'_> {
    fn object(&mut self, of: TypeId) -> Map {
        let described: &ObjectType = self.schema.get(of);
        let mut map = Map::with_capacity(described.fields.len());
        self.above.push(of);
        for field in described.fields.iter().filter(|field| !field.tags.is_empty()) {
            if let Some(value) = self.field(field) {
                map.push(field.key.clone(), value);
            }
        }
        self.above.pop();
        map
    }

    fn field(&mut self, field: &Field) -> Option<Value> {
        // One level of a type inside itself is enough.
        let inside = field.of.object();
        let repeated = inside.is_some_and(|id| self.above.iter().filter(|above| **above == id).count() > 1);
        (!repeated).then(|| self.value(&field.of))
    }

    fn value(&mut self, of: &Type) -> Value {
        self.count += 1;
        let count = self.count;
        match of {
            Type::String => Value::from(format!("text-{count}")),
            Type::Bytes => Value::from("AAEC/w=="),
            Type::Bool => Value::Bool(true),
            Type::Int32 => Value::Int(-i64::from(count)),
            Type::Int64 => Value::Int(i64::from(count) << 33),
            Type::Double => Value::Float(f64::from(count) + 0.5),
            Type::Quantity => Value::from(format!("{}m", count * 10 + 1)),
            Type::Time => Value::from(format!("2026-01-02T03:{:02}:{:02}Z", count / 60 % 60, count % 60)),
            Type::MicroTime => Value::from(format!("2026-01-02T03:04:05.{:06}Z", count % 1_000_000)),
            Type::Duration => Value::from(format!("{}m1s", count % 50 + 1)),
            Type::IntOrString if count % 2 == 0 => Value::Int(i64::from(count)),
            Type::IntOrString => Value::from(format!("{count}%")),
            Type::Json => [Value::Int(i64::from(count)), Value::Null].into(),
            Type::Raw => {
                Value::Map(Map::from_iter([("kind", format!("Raw{count}")), ("apiVersion", "x/v1".to_owned())]))
            }
            Type::Fields => Value::Map(Map::from_iter([(format!("f:field{count}"), Value::map())])),
            Type::Strings => vec![format!("one-{count}"), format!("two-{count}")].into(),
            Type::SchemaOrBool(id) | Type::SchemaOrList(id) | Type::SchemaOrStrings(id) | Type::Object(id) => {
                Value::Map(self.object(*id))
            }
            Type::List(of) => vec![self.value(of), self.value(of)].into(),
            Type::Map(of) => Value::Map(Map::from_iter([(format!("key-{count}"), self.value(of))])),
        }
    }
}
