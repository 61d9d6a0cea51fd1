//! Walks trees by the schema: what fields there are, what differs, and what two make together.

use super::FieldSet;
use crate::{
    json,
    object::Object,
    schema::{Field, ListKind, Schema, Type, TypeId},
    value::{Map, Value},
};

/// What differs between two trees.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

/// Walks trees by a schema.
#[derive(Clone, Copy)]
pub(super) struct Walker<'s> {
    pub(super) schema: &'s Schema,
}

/// How a value is taken apart.
#[derive(Clone, Copy)]
enum Shape<'s> {
    /// Not at all.
    Leaf,
    /// By its fields.
    Struct(TypeId),
    /// By its keys.
    Map(&'s Type),
    /// By its keys, nothing being known about the values.
    Free,
    /// Items are their own names.
    Set,
    /// Items are named by some of their fields.
    Items(&'s [Box<str>], &'s Type),
}

/// Something a shape says about one part of a value.
#[derive(Clone, Copy)]
struct Part<'s> {
    shape: Shape<'s>,
    /// Whether upstream's object has it even if nobody wrote it.
    always: bool,
}

type Named<'v> = Vec<(String, &'v Value)>;

impl<'s> Walker<'s> {
    fn shape(self, of: &'s Type, field: Option<&'s Field>) -> Shape<'s> {
        let atomic = field.is_some_and(|field| field.atomic);
        match of {
            Type::Object(id) if !atomic && !self.schema.get(*id).atomic => Shape::Struct(*id),
            Type::Map(values) if !atomic => Shape::Map(values),
            Type::Json | Type::Raw if !atomic => Shape::Free,
            Type::List(items) => match field.map(|field| &field.list) {
                Some(ListKind::Set) => Shape::Set,
                Some(ListKind::Map(keys)) => Shape::Items(keys, items),
                _ => Shape::Leaf,
            },
            _ => Shape::Leaf,
        }
    }

    /// What a step below a shape leads to.
    fn part(self, shape: Shape<'s>, step: &str) -> Part<'s> {
        let field = |id| step.get(2..).and_then(|name| self.schema.field(id, name));
        match shape {
            Shape::Struct(id) => field(id).map_or(Part { shape: Shape::Free, always: false }, |field| Part {
                shape: self.shape(&field.of, Some(field)),
                always: field.keep_zero
                    || (matches!(field.of, Type::Object(_)) && !field.pointer && !field.tags.is_empty()),
            }),
            Shape::Map(values) => Part { shape: self.shape(values, None), always: false },
            Shape::Items(_, items) => Part { shape: self.shape(items, None), always: false },
            Shape::Free => Part { shape: Shape::Free, always: false },
            Shape::Leaf | Shape::Set => Part { shape: Shape::Leaf, always: false },
        }
    }

    /// The parts of a value by their steps; nothing if it is not taken apart.
    fn parts<'v>(shape: Shape<'_>, value: &'v Value) -> Result<Option<Named<'v>>, String> {
        match (shape, value) {
            (Shape::Struct(_) | Shape::Map(_) | Shape::Free, Value::Map(map)) => {
                Ok(Some(map.iter().map(|(key, value)| (format!("f:{}", key.as_str()), value)).collect()))
            }
            (Shape::Set, Value::List(list)) => Ok(Some(list.iter().map(|item| (format!("v:{item}"), item)).collect())),
            (Shape::Items(keys, _), Value::List(list)) => {
                let mut named: Named<'v> = Vec::with_capacity(list.len());
                for item in list {
                    let name = item_name(keys, item)?;
                    if named.iter().any(|(other, _)| *other == name) {
                        return Err(format!("duplicate entries for key {}", &name[2..]));
                    }
                    named.push((name, item));
                }
                Ok(Some(named))
            }
            _ => Ok(None),
        }
    }

    /// All fields an object has.
    pub(super) fn fields(self, object: &Object, of: TypeId) -> Result<FieldSet, String> {
        let mut set = FieldSet::default();
        self.collect(Shape::Struct(of), &Value::from(object), &mut set)?;
        Ok(set)
    }

    fn collect(self, shape: Shape<'s>, value: &Value, set: &mut FieldSet) -> Result<(), String> {
        let parts = Self::parts(shape, value)?.unwrap_or_default();
        if parts.is_empty() {
            set.insert_self();
        }
        for (step, part) in parts {
            let below = set.below(&step);
            if step.starts_with("k:") {
                below.insert_self();
            }
            self.collect(self.part(shape, &step).shape, part, below)?;
        }
        Ok(())
    }

    /// What differs between two objects.
    pub(super) fn compare(self, old: &Object, new: &Object, of: TypeId) -> Result<Changes, String> {
        let mut changes = Changes::default();
        self.compare_maps(Shape::Struct(of), [old.as_map(), new.as_map()], &mut changes)?;
        Ok(changes)
    }

    /// Two maps that are taken apart by their keys: what is the same costs no name.
    fn compare_maps(self, shape: Shape<'s>, [old, new]: [&Map; 2], changes: &mut Changes) -> Result<(), String> {
        for (key, value) in new.iter() {
            let before = old.get(key);
            if before != Some(value) {
                self.step(shape, &format!("f:{}", key.as_str()), [before, Some(value)], changes)?;
            }
        }
        for (key, value) in old.iter().filter(|(key, _)| !new.contains_key(key)) {
            self.step(shape, &format!("f:{}", key.as_str()), [Some(value), None], changes)?;
        }
        Ok(())
    }

    fn compare_values(self, part: Part<'s>, values: [Option<&Value>; 2], changes: &mut Changes) -> Result<(), String> {
        if let (Shape::Struct(_) | Shape::Map(_) | Shape::Free, [Some(Value::Map(old)), Some(Value::Map(new))]) =
            (part.shape, values)
            && !(old.is_empty() && new.is_empty())
        {
            return self.compare_maps(part.shape, [old, new], changes);
        }
        let mut parts = [None, None];
        for (slot, value) in parts.iter_mut().zip(values) {
            *slot = value.map(|value| Self::parts(part.shape, value)).transpose()?.flatten();
        }
        let taken_apart = parts.iter().flatten().any(|parts| !parts.is_empty());
        match values {
            [Some(old), Some(new)] if (!taken_apart || parts.iter().any(Option::is_none)) && old != new => {
                changes.modified.insert_self();
            }
            [None, Some(_)] if !part.always || !taken_apart => changes.added.insert_self(),
            [Some(_), None] => changes.removed.insert_self(),
            _ => {}
        }
        let [old, new] = parts.map(Option::unwrap_or_default);
        for (step, value) in &new {
            let before = old.iter().find(|(other, _)| other == step).map(|(_, value)| *value);
            self.step(part.shape, step, [before, Some(value)], changes)?;
        }
        for (step, value) in old.iter().filter(|(step, _)| new.iter().all(|(other, _)| other != step)) {
            self.step(part.shape, step, [Some(value), None], changes)?;
        }
        Ok(())
    }

    fn step(
        self,
        shape: Shape<'s>,
        step: &str,
        values: [Option<&Value>; 2],
        changes: &mut Changes,
    ) -> Result<(), String> {
        if values[0] == values[1] {
            return Ok(());
        }
        let mut below = Changes::default();
        self.compare_values(self.part(shape, step), values, &mut below)?;
        for (set, found) in [
            (&mut changes.added, below.added),
            (&mut changes.modified, below.modified),
            (&mut changes.removed, below.removed),
        ] {
            if !found.is_empty() {
                *set.below(step) = found;
            }
        }
        Ok(())
    }

    /// A configuration laid over an object.
    pub(super) fn merge(self, old: &Object, config: &Object, of: TypeId) -> Result<Object, String> {
        let merged = self.merge_values(Shape::Struct(of), Value::from(old), &Value::from(config))?;
        Object::try_from(merged).map_err(|error| error.to_string())
    }

    fn merge_values(self, shape: Shape<'s>, old: Value, config: &Value) -> Result<Value, String> {
        match (shape, old, config) {
            (Shape::Struct(_) | Shape::Map(_) | Shape::Free, Value::Map(mut old), Value::Map(config)) => {
                for (key, value) in config.iter() {
                    if value.is_null() {
                        old.remove(key);
                        continue;
                    }
                    let below = self.part(shape, &format!("f:{}", key.as_str())).shape;
                    let before = old.get_mut(key).map(Value::take).unwrap_or_default();
                    old.insert(key.clone(), self.merge_values(below, before, value)?);
                }
                Ok(Value::Map(old))
            }
            (Shape::Set, Value::List(mut old), Value::List(config)) => {
                old.extend(config.iter().filter(|item| !old.contains(item)).cloned().collect::<Vec<_>>());
                Ok(Value::List(old))
            }
            (Shape::Items(keys, items), Value::List(mut old), Value::List(config)) => {
                for item in config {
                    let name = item_name(keys, item)?;
                    let same = old.iter().position(|other| item_name(keys, other).is_ok_and(|other| other == name));
                    match same {
                        Some(index) => {
                            old[index] = self.merge_values(self.shape(items, None), old[index].take(), item)?;
                        }
                        None => old.push(item.clone()),
                    }
                }
                Ok(Value::List(old))
            }
            (_, _, config) => Ok(config.clone()),
        }
    }

    /// Takes away what was in `last` and is in `kept` no more.
    pub(super) fn prune(self, object: &mut Object, of: TypeId, last: &FieldSet, kept: &FieldSet) {
        object.with_value(|tree| self.prune_value(Shape::Struct(of), tree, last, kept));
    }

    fn prune_value(self, shape: Shape<'s>, value: &mut Value, last: &FieldSet, kept: &FieldSet) {
        for (step, below) in last.children() {
            match kept.child(step) {
                None => remove_part(shape, value, step),
                Some(kept) => {
                    let part = self.part(shape, step).shape;
                    if let Some(inner) = part_mut(shape, value, step) {
                        self.prune_value(part, inner, below, kept);
                    }
                }
            }
        }
    }
}

fn remove_part(shape: Shape<'_>, value: &mut Value, step: &str) {
    match value {
        Value::Map(map) => drop(map.remove(&step[2..])),
        Value::List(list) => list.retain(|item| !is_item(shape, item, step)),
        _ => {}
    }
}

fn part_mut<'v>(shape: Shape<'_>, value: &'v mut Value, step: &str) -> Option<&'v mut Value> {
    match value {
        Value::Map(map) => map.get_mut(step.get(2..)?),
        Value::List(list) => list.iter_mut().find(|item| is_item(shape, item, step)),
        _ => None,
    }
}

fn is_item(shape: Shape<'_>, item: &Value, step: &str) -> bool {
    match shape {
        Shape::Items(keys, _) => item_name(keys, item).is_ok_and(|name| name == step),
        _ => step.strip_prefix("v:") == Some(&item.to_string()),
    }
}

/// `k:{"containerPort":80,"protocol":"TCP"}`, the keys in alphabetical order.
fn item_name(keys: &[Box<str>], item: &Value) -> Result<String, String> {
    let mut named = Map::with_capacity(keys.len());
    for key in keys {
        match item.get(key) {
            Some(value) => named.push(&**key, value.clone()),
            // The one key that has a default in the API.
            None if &**key == "protocol" => named.push(&**key, "TCP"),
            None => {}
        }
    }
    if named.is_empty() {
        return Err(format!(
            "associative list with keys has an element that omits key field {:?}",
            keys.first().map_or("", |key| key)
        ));
    }
    named.sort_keys();
    Ok(format!("k:{}", String::from_utf8_lossy(&json::encode(&Value::Map(named)))))
}
