//! Sets of fields, as `fieldsV1` writes them: `f:name` is a field, `k:{…}` an item by its keys, `v:…` an item of a set.

use crate::{
    json,
    value::{Map, Value},
};
use std::collections::BTreeMap;

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Whether the place itself is in the set.
    own: bool,
    children: BTreeMap<Box<str>, FieldSet>,
}

/// What every object has, and nobody owns.
const IDENTITY: &[&[&str]] = &[
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
];

impl FieldSet {
    /// Reads `fieldsV1`.
    pub fn from_value(fields: &Value) -> Self {
        let mut set = Self::default();
        for (key, value) in fields.as_map().into_iter().flat_map(Map::iter) {
            if key.as_str() == "." {
                set.own = true;
                continue;
            }
            let mut child = Self::from_value(value);
            child.own |= child.children.is_empty();
            set.children.insert(key.as_str().into(), child);
        }
        set
    }

    /// Writes `fieldsV1`.
    pub fn to_value(&self) -> Value {
        let mut map = Map::with_capacity(self.children.len() + 1);
        if self.own && !self.children.is_empty() {
            map.push(".", Value::map());
        }
        for (key, child) in &self.children {
            map.push(&**key, child.to_value());
        }
        Value::Map(map)
    }

    /// Whether no field is in the set.
    pub fn is_empty(&self) -> bool {
        !self.own && self.children.is_empty()
    }

    /// Puts the place itself into the set.
    pub(super) fn insert_self(&mut self) {
        self.own = true;
    }

    /// The set below a step, made if absent.
    pub(super) fn below(&mut self, step: &str) -> &mut Self {
        if !self.children.contains_key(step) {
            self.children.insert(step.into(), Self::default());
        }
        self.children.get_mut(step).expect("was just put in")
    }

    /// Takes away a step below which nothing was put.
    pub(super) fn tidy(&mut self, step: &str) {
        if self.children.get(step).is_some_and(Self::is_empty) {
            self.children.remove(step);
        }
    }

    /// The sets one step down.
    pub(super) fn children(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.children.iter().map(|(step, child)| (&**step, child))
    }

    /// The set below a step.
    pub(super) fn child(&self, step: &str) -> Option<&Self> {
        self.children.get(step)
    }

    /// What is in either set.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.own |= other.own;
        for (step, child) in &other.children {
            match self.children.get_mut(step) {
                Some(mine) => *mine = std::mem::take(mine).union(child),
                None => drop(self.children.insert(step.clone(), child.clone())),
            }
        }
        self
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut result = Self { own: self.own && other.own, children: BTreeMap::new() };
        for (step, mine) in &self.children {
            if let Some(theirs) = other.children.get(step) {
                let both = mine.intersection(theirs);
                if !both.is_empty() {
                    result.children.insert(step.clone(), both);
                }
            }
        }
        result
    }

    /// What is in this set only.
    #[must_use]
    pub fn difference(mut self, other: &Self) -> Self {
        self.subtract(other);
        self
    }

    fn subtract(&mut self, other: &Self) {
        self.own &= !other.own;
        for (step, theirs) in &other.children {
            if let Some(mine) = self.children.get_mut(step) {
                mine.subtract(theirs);
                self.tidy(step);
            }
        }
    }

    /// Without the fields nobody owns.
    #[must_use]
    pub(super) fn without_identity(mut self) -> Self {
        for path in IDENTITY {
            self.forget(path);
        }
        if let Some(metadata) = self.children.get_mut("f:metadata") {
            metadata.own = false;
            metadata.children.remove("f:managedFields");
        }
        self.tidy("f:metadata");
        self
    }

    /// Takes away the place at a path, not what is below it.
    fn forget(&mut self, path: &[&str]) {
        match path {
            [] => self.own = false,
            [step, rest @ ..] => {
                if let Some(child) = self.children.get_mut(*step) {
                    child.forget(rest);
                    self.tidy(step);
                }
            }
        }
    }

    /// The fields as upstream shows them: `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths(&mut String::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &mut String, paths: &mut Vec<String>) {
        if self.own {
            paths.push(prefix.clone());
        }
        for (step, child) in &self.children {
            let length = prefix.len();
            prefix.push_str(&show(step));
            child.collect_paths(prefix, paths);
            prefix.truncate(length);
        }
    }
}

fn show(step: &str) -> String {
    match step.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("v:", value)) => format!("[={value}]"),
        Some(("k:", keys)) => {
            let keys = json::decode_value(keys.as_bytes()).unwrap_or_default();
            let keys = keys
                .as_map()
                .map(|map| map.iter().map(|(key, value)| format!("{}={value}", key.as_str())).collect::<Vec<_>>());
            format!("[{}]", keys.unwrap_or_default().join(","))
        }
        Some(("i:", index)) => format!("[{index}]"),
        _ => step.to_owned(),
    }
}
