//! What Go writes although nobody set it: structs that are no pointers, and scalars without `omitempty`.

use super::{Schema, Type, TypeId};
use crate::value::{Map, Value};

impl Schema {
    /// Puts in what clients find in every object upstream writes, such as an empty `status`.
    ///
    /// Clients in languages with types stumble over its absence.
    pub fn fill_zeros(&self, of: TypeId, map: &mut Map) {
        for field in self.get(of).fields.iter().filter(|field| !field.tags.is_empty()) {
            if let Some(value) = map.get_mut(field.name()) {
                self.fill_value(&field.of, value);
                continue;
            }
            if field.pointer {
                continue;
            }
            let zero = match &field.of {
                Type::Object(id) => {
                    let mut inner = Map::new();
                    self.fill_zeros(*id, &mut inner);
                    Value::Map(inner)
                }
                Type::String if field.keep_zero => Value::from(""),
                Type::Bool if field.keep_zero => Value::Bool(false),
                Type::Int32 | Type::Int64 if field.keep_zero => Value::Int(0),
                _ => continue,
            };
            map.insert(field.key.clone(), zero);
        }
    }

    fn fill_value(&self, of: &Type, value: &mut Value) {
        match (of, value) {
            (Type::Object(id), Value::Map(map)) => self.fill_zeros(*id, map),
            (Type::List(of), Value::List(list)) => list.iter_mut().for_each(|item| self.fill_value(of, item)),
            (Type::Map(of), Value::Map(map)) => map.iter_mut().for_each(|(_, value)| self.fill_value(of, value)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    fn schema() -> Schema {
        let text = "\
a.v1.Inner
 name string 1 keep
 ready bool 2 keep
 note string 3
a.v1.Thing kind=a/v1
 count int32 1
 inner a.v1.Inner 2
 list []a.v1.Inner 3
 maybe a.v1.Inner 4 ptr
";
        Schema::parse(text).unwrap()
    }

    #[test]
    fn structs_that_are_no_pointers_are_always_there() {
        let schema = schema();
        let of = schema.type_named("a.v1.Thing").unwrap();
        let Value::Map(mut map) = value!({"list": [{"note": "x"}]}) else { panic!("a map was written") };
        schema.fill_zeros(of, &mut map);
        let inner = || value!({"name": "", "ready": false});
        assert_eq!(map.get("inner"), Some(&inner()));
        assert_eq!(map.get("list"), Some(&value!([{"note": "x", "name": "", "ready": false}])));
        assert_eq!((map.get("maybe"), map.get("count")), (None, None));
    }
}
