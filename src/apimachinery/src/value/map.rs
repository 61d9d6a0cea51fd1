//! Ordered fields. Names the schema knows are shared, others are owned.

use super::Value;
use std::fmt;

/// The name of a field.
#[derive(Clone)]
pub enum Key {
    /// A name kept for the life of the process, as the built-in schema's are.
    Known(&'static &'static str),
    /// Any other name.
    Owned(Box<str>),
}

impl Key {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(name) => name,
            Self::Owned(name) => name,
        }
    }
}

impl std::ops::Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Key {}

impl From<&str> for Key {
    fn from(name: &str) -> Self {
        Self::Owned(name.into())
    }
}

impl From<String> for Key {
    fn from(name: String) -> Self {
        Self::Owned(name.into())
    }
}

impl From<&String> for Key {
    fn from(name: &String) -> Self {
        Self::Owned(name.as_str().into())
    }
}

impl From<Box<str>> for Key {
    fn from(name: Box<str>) -> Self {
        Self::Owned(name)
    }
}

/// Fields in the order they were written. Equality does not depend on the order.
#[derive(Clone, Default)]
pub struct Map {
    #[expect(clippy::box_collection, reason = "one pointer keeps Value at 24 bytes, and an empty map free")]
    entries: Option<Box<Vec<(Key, Value)>>>,
}

impl Map {
    /// No fields.
    pub const fn new() -> Self {
        Self { entries: None }
    }

    /// No fields, with room for some.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { entries: (capacity > 0).then(|| Box::new(Vec::with_capacity(capacity))) }
    }

    fn entries(&self) -> &[(Key, Value)] {
        self.entries.as_ref().map_or(&[], |entries| entries)
    }

    fn entries_mut(&mut self) -> &mut Vec<(Key, Value)> {
        self.entries.get_or_insert_default()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// The place of a field in the order.
    pub fn position(&self, key: &str) -> Option<usize> {
        self.entries().iter().position(|(name, _)| name.as_str() == key)
    }

    /// Whether the field is there, even with null in it.
    pub fn contains_key(&self, key: &str) -> bool {
        self.position(key).is_some()
    }

    /// The value of a field.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries().iter().find_map(|(name, value)| (name.as_str() == key).then_some(value))
    }

    /// The value of a field, for change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.iter_mut().find_map(|(name, value)| (name.as_str() == key).then_some(value))
    }

    /// The text in a field, or "".
    pub fn str(&self, key: &str) -> &str {
        self.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Sets a field, in its old place if it was there; the old value is returned.
    pub fn insert(&mut self, key: impl Into<Key>, value: impl Into<Value>) -> Option<Value> {
        let key = key.into();
        if let Some(old) = self.get_mut(&key) {
            return Some(std::mem::replace(old, value.into()));
        }
        self.push(key, value);
        None
    }

    /// Adds a field known to be absent, without looking for it.
    pub fn push(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        self.entries_mut().push((key.into(), value.into()));
    }

    /// The value of a field, made null first if it is absent.
    pub fn entry(&mut self, key: &str) -> &mut Value {
        let index = self.position(key).unwrap_or_else(|| {
            self.push(key, Value::Null);
            self.len() - 1
        });
        &mut self.entries_mut()[index].1
    }

    /// The value of the field at a place found by [`Map::position`].
    pub fn nth_mut(&mut self, position: usize) -> &mut Value {
        &mut self.entries_mut()[position].1
    }

    /// Takes a field away; the order of the others stays.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let index = self.position(key)?;
        Some(self.entries_mut().remove(index).1)
    }

    /// Keeps only the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        if let Some(entries) = &mut self.entries {
            entries.retain_mut(|(key, value)| keep(key, value));
        }
    }

    /// Puts the fields in alphabetical order.
    pub fn sort_keys(&mut self) {
        if let Some(entries) = &mut self.entries {
            entries.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        }
    }

    /// The fields in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Key, &Value)> + DoubleEndedIterator {
        self.entries().iter().map(|(key, value)| (key, value))
    }

    /// The fields in order, for change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Key, &mut Value)> {
        self.entries.iter_mut().flat_map(|entries| entries.iter_mut()).map(|(key, value)| (&*key, value))
    }

    /// Whether two maps have the same fields with the same values, these fields aside.
    pub fn equals_except(&self, other: &Self, aside: &[&str]) -> bool {
        let counted = |map: &Self| map.keys().filter(|key| !aside.contains(key)).count();
        counted(self) == counted(other)
            && self.iter().enumerate().all(|(index, (key, value))| {
                if aside.contains(&key.as_str()) {
                    return true;
                }
                // Mostly the orders agree, and then nothing is searched.
                match other.entries().get(index).filter(|(same, _)| same == key) {
                    Some((_, theirs)) => theirs == value,
                    None => other.get(key) == Some(value),
                }
            })
    }

    /// The names in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator {
        self.entries().iter().map(|(key, _)| key.as_str())
    }

    /// The values in order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> + DoubleEndedIterator {
        self.entries().iter().map(|(_, value)| value)
    }

    /// The fields whose values are text, as labels and annotations are.
    pub fn strings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.entries().iter().zip(other.entries()).enumerate().all(
                |(index, ((key, value), (other_key, other_value)))| {
                    // Mostly the orders agree, and then nothing is searched.
                    if key == other_key {
                        value == other_value
                    } else {
                        other.get(key) == Some(value) && self.position(key) == Some(index)
                    }
                },
            )
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Into<Key>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(fields: I) -> Self {
        let mut map = Self::new();
        map.extend(fields);
        map
    }
}

impl<K: Into<Key>, V: Into<Value>> Extend<(K, V)> for Map {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, fields: I) {
        for (key, value) in fields {
            self.insert(key, value);
        }
    }
}

impl IntoIterator for Map {
    type Item = (Key, Value);
    type IntoIter = std::vec::IntoIter<(Key, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.map(|entries| *entries).unwrap_or_default().into_iter()
    }
}
