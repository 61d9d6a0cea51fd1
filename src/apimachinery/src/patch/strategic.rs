//! Strategic merge: the merge `kubectl apply` and `kubectl edit` ask for.
//!
//! Directives inside a patch: `$patch` (`replace`, `delete` or `merge`) in a map or list item, `$retainKeys` in a map, and beside a
//! list `x` the fields `$setElementOrder/x` and `$deleteFromPrimitiveList/x`.

use super::PatchError;
use crate::{
    schema::{Field, PatchStrategy, Schema, Type, TypeId},
    value::{Map, Value},
};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Merges patches by the rules of a schema.
pub(super) struct Merger<'s> {
    pub(super) schema: &'s Schema,
}

/// What the schema says about the value being merged.
#[derive(Clone, Copy, Default)]
struct Rule<'s> {
    of: Option<&'s Type>,
    patch: Option<&'s PatchStrategy>,
}

impl<'s> Rule<'s> {
    fn field(field: Option<&'s Field>) -> Self {
        Self { of: field.map(|field| &field.of), patch: field.map(|field| &field.patch) }
    }

    fn object(self) -> Option<TypeId> {
        match self.of {
            Some(Type::Object(id)) => Some(*id),
            _ => None,
        }
    }

    fn values(self) -> Self {
        match self.of {
            Some(Type::Map(values)) => Self { of: Some(values), patch: None },
            _ => Self::default(),
        }
    }
}

fn malformed(what: impl Into<String>) -> PatchError {
    PatchError::Malformed(what.into())
}

impl<'s> Merger<'s> {
    /// Merges a patch into a map whose fields are known, or not.
    pub(super) fn merge_map(&self, target: &mut Map, patch: Map, of: Option<TypeId>) -> Result<(), PatchError> {
        let schema = self.schema;
        self.merge_fields(target, patch, &|name| Rule::field(of.and_then(|id| schema.field(id, name))))
    }

    fn merge_fields(
        &self,
        target: &mut Map,
        mut patch: Map,
        rule: &dyn Fn(&str) -> Rule<'s>,
    ) -> Result<(), PatchError> {
        match patch.remove(PATCH) {
            None => {}
            Some(Value::String(directive)) => match &*directive {
                "merge" => {}
                "replace" => *target = Map::new(),
                "delete" => {
                    *target = Map::new();
                    return Ok(());
                }
                other => return Err(malformed(format!("unknown patch type: {other}"))),
            },
            Some(_) => return Err(malformed("$patch must be text")),
        }
        if let Some(keep) = patch.remove(RETAIN_KEYS) {
            let keep = keep.as_list().ok_or_else(|| malformed("$retainKeys must be a list"))?;
            target.retain(|key, _| keep.iter().any(|kept| kept.as_str() == Some(key)));
        }
        let directives = ListDirectives::take(&mut patch)?;
        for (key, value) in patch {
            if value.is_null() {
                target.remove(&key);
                continue;
            }
            let order = directives.order_of(&key);
            let rule = rule(&key);
            let mut old = target.get_mut(&key).map(Value::take);
            let merged = self.merge_value(old.take(), value, rule, order)?;
            target.insert(key, merged);
        }
        directives.finish(target, rule);
        Ok(())
    }

    fn merge_value(
        &self,
        old: Option<Value>,
        patch: Value,
        rule: Rule<'s>,
        order: Option<&[Value]>,
    ) -> Result<Value, PatchError> {
        match (old, patch) {
            (old, Value::Map(patch)) => {
                let mut target = match old {
                    Some(Value::Map(map)) if !rule.patch.is_some_and(|patch| patch.replace) => map,
                    _ => Map::new(),
                };
                if let Some(id) = rule.object() {
                    self.merge_map(&mut target, patch, Some(id))?;
                } else {
                    self.merge_fields(&mut target, patch, &|_| rule.values())?;
                }
                Ok(Value::Map(target))
            }
            (old, Value::List(patch)) => {
                let old = match old {
                    Some(Value::List(list)) => list,
                    _ => Vec::new(),
                };
                self.merge_list(&old, patch, rule, order).map(Value::List)
            }
            (_, patch) => Ok(patch),
        }
    }

    fn merge_list(
        &self,
        old: &[Value],
        patch: Vec<Value>,
        rule: Rule<'s>,
        order: Option<&[Value]>,
    ) -> Result<Vec<Value>, PatchError> {
        let item_rule = Rule { of: rule.of.and_then(Type::items), patch: None };
        let merged = rule.patch.is_some_and(|strategy| strategy.merge);
        let replaced = patch.iter().any(|item| item.str(PATCH) == "replace");
        if !merged || replaced {
            let kept = patch.into_iter().filter(|item| !(replaced && item.str(PATCH) == "replace"));
            // Merging into nothing takes the directives out.
            return kept
                .map(|item| if merged { self.merge_value(None, item, item_rule, None) } else { Ok(item) })
                .collect();
        }
        let key = rule.patch.and_then(|strategy| strategy.merge_key.as_deref());
        let mut list = old.to_vec();
        for item in patch {
            self.merge_item(&mut list, item, key, item_rule)?;
        }
        if let Some(order) = order {
            list = reorder(list, old, order, key);
        }
        Ok(list)
    }

    fn merge_item(
        &self,
        list: &mut Vec<Value>,
        item: Value,
        key: Option<&str>,
        rule: Rule<'s>,
    ) -> Result<(), PatchError> {
        let (Some(key), Value::Map(fields)) = (key, &item) else {
            if !list.contains(&item) {
                list.push(item);
            }
            return Ok(());
        };
        let identity = fields
            .get(key)
            .ok_or_else(|| malformed(format!("map: {item} does not contain declared merge key: {key}")))?;
        if item.str(PATCH) == "delete" {
            list.retain(|old| old.get(key) != Some(identity));
            return Ok(());
        }
        match list.iter().position(|old| old.get(key) == Some(identity)) {
            Some(index) => {
                list[index] = self.merge_value(Some(list[index].take()), item, rule, None)?;
            }
            None => list.push(self.merge_value(None, item, rule, None)?),
        }
        Ok(())
    }
}

/// The directives that stand beside a list.
struct ListDirectives {
    orders: Vec<(String, Vec<Value>)>,
    deletions: Vec<(String, Vec<Value>)>,
    /// Lists that are in the patch, and so are put in order while merging.
    merged: Vec<String>,
}

impl ListDirectives {
    fn take(patch: &mut Map) -> Result<Self, PatchError> {
        let mut directives = Self { orders: Vec::new(), deletions: Vec::new(), merged: Vec::new() };
        let names: Vec<String> = patch.keys().filter(|key| key.starts_with('$')).map(Into::into).collect();
        for name in names {
            let into = if name.starts_with(ORDER) {
                &mut directives.orders
            } else if name.starts_with(DELETE) {
                &mut directives.deletions
            } else {
                continue;
            };
            let (_, field) = name.split_once('/').unwrap_or_default();
            match patch.remove(&name) {
                Some(Value::List(items)) => into.push((field.to_owned(), items)),
                _ => return Err(malformed(format!("{name} must be a list"))),
            }
        }
        directives.merged =
            patch.iter().filter(|(_, value)| matches!(value, Value::List(_))).map(|(key, _)| key.to_string()).collect();
        Ok(directives)
    }

    fn order_of(&self, field: &str) -> Option<&[Value]> {
        self.orders.iter().find(|(name, _)| name == field).map(|(_, order)| order.as_slice())
    }

    /// Deletes from lists of plain values, and orders the lists the patch says nothing else about.
    fn finish<'s>(&self, target: &mut Map, rule: &dyn Fn(&str) -> Rule<'s>) {
        for (field, items) in &self.deletions {
            if let Some(Value::List(list)) = target.get_mut(field) {
                list.retain(|item| !items.contains(item));
            }
        }
        for (field, order) in self.orders.iter().filter(|(field, _)| !self.merged.contains(field)) {
            if let Some(Value::List(list)) = target.get_mut(field) {
                let old = std::mem::take(list);
                let key = rule(field).patch.and_then(|strategy| strategy.merge_key.as_deref());
                *list = reorder(old.clone(), &old, order, key);
            }
        }
    }
}

/// Puts the items named in `order` in that order. The others keep their order among themselves and, where it does not
/// contradict, their place among the named ones in the old list.
pub(super) fn reorder(list: Vec<Value>, old: &[Value], order: &[Value], key: Option<&str>) -> Vec<Value> {
    let same = |a: &Value, b: &Value| match key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    };
    let place = |among: &[Value], item: &Value| among.iter().position(|other| same(other, item));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        list.into_iter().partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    others.sort_by_key(|item| place(old, item).unwrap_or(usize::MAX));
    let mut result = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in named {
        let here = place(old, &item);
        while let (Some(here), Some(there)) = (here, others.peek().and_then(|other| place(old, other))) {
            if there > here {
                break;
            }
            result.extend(others.next());
        }
        result.push(item);
    }
    result.extend(others);
    result
}
