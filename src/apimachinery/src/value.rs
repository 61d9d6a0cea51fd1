//! The tree every API object is: smaller than a general JSON value, and ordered.

mod from;
mod map;
mod to;

pub use map::{Key, Map};

use std::fmt;

/// A node of the tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing, said explicitly.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text; also bytes (base64) and times, as in JSON.
    String(Box<str>),
    /// A sequence.
    List(Vec<Value>),
    /// Named fields.
    Map(Map),
}

const _: () = assert!(size_of::<Value>() <= 24 && size_of::<Key>() <= 16);

/// A typed value could not be made from a tree, or a tree from a typed value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConvertError(pub(crate) String);

impl serde::ser::Error for ConvertError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl serde::de::Error for ConvertError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// The tree of a typed value.
pub fn from_typed<T: serde::Serialize + ?Sized>(typed: &T) -> Result<Value, ConvertError> {
    typed.serialize(from::ToTree)
}

/// A typed view of a tree; fields the type does not know are passed over.
pub fn to_typed<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, ConvertError> {
    T::deserialize(value)
}

/// A typed view of the fields of a map.
pub fn to_typed_map<T: serde::de::DeserializeOwned>(map: &Map) -> Result<T, ConvertError> {
    to::view_map(map)
}

impl Value {
    /// A number that may be whole: JSON does not tell `1.0` from `1`, and what is written must read the same.
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    pub(crate) fn number(number: f64) -> Self {
        // Below 2^63 every whole float is an i64.
        let whole = number.fract() == 0.0 && number.abs() < 9_223_372_036_854_775_808.0;
        if whole { Self::Int(number as i64) } else { Self::Float(number) }
    }

    /// An empty map.
    pub const fn map() -> Self {
        Self::Map(Map::new())
    }

    /// Whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Null, "", 0, false, [] or {}: what Go leaves out of JSON with `omitempty`.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(b) => !b,
            Self::Int(i) => *i == 0,
            Self::Float(f) => *f == 0.0,
            Self::String(s) => s.is_empty(),
            Self::List(l) => l.is_empty(),
            Self::Map(m) => m.is_empty(),
        }
    }

    /// The text, if this is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(s) => Some(s),
            _ => None,
        }
    }

    /// The number, if this is a whole number.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(i) => Some(*i),
            _ => None,
        }
    }

    /// The number, if this is any number.
    #[expect(clippy::cast_precision_loss, reason = "a float was asked for")]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(i) => Some(*i as f64),
            Self::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// The truth value, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The items, if this is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(l) => Some(l),
            _ => None,
        }
    }

    /// The items for change, if this is a list.
    pub fn as_list_mut(&mut self) -> Option<&mut Vec<Value>> {
        match self {
            Self::List(l) => Some(l),
            _ => None,
        }
    }

    /// The fields, if this is a map.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(m) => Some(m),
            _ => None,
        }
    }

    /// The fields for change, if this is a map.
    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match self {
            Self::Map(m) => Some(m),
            _ => None,
        }
    }

    /// The field of a map; nothing for other values.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map()?.get(key)
    }

    /// The field of a map for change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.as_map_mut()?.get_mut(key)
    }

    /// The items of the list in field `key`, or none.
    pub fn list(&self, key: &str) -> &[Value] {
        self.get(key).and_then(Self::as_list).unwrap_or_default()
    }

    /// The text in field `key`, or "".
    pub fn str(&self, key: &str) -> &str {
        self.get(key).and_then(Self::as_str).unwrap_or_default()
    }

    /// The value at a path of field names; a step into a list is a decimal index.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |value, step| match value {
            Self::Map(m) => m.get(step),
            Self::List(l) => l.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// The value at a path, for change.
    pub fn at_mut(&mut self, path: &[&str]) -> Option<&mut Value> {
        path.iter().try_fold(self, |value, step| match value {
            Self::Map(m) => m.get_mut(step),
            Self::List(l) => l.get_mut(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Puts a value at a path. Missing or null maps on the way are made, anything else in the way is replaced by a map.
    pub fn set_at(&mut self, path: &[&str], value: impl Into<Value>) {
        match path {
            [] => *self = value.into(),
            [step, rest @ ..] => {
                if let (Self::List(l), Ok(index)) = (&mut *self, step.parse::<usize>())
                    && index < l.len()
                {
                    return l[index].set_at(rest, value);
                }
                self.make_map().entry(step).set_at(rest, value);
            }
        }
    }

    /// Takes away and returns the value at a path.
    pub fn remove_at(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        match self.at_mut(parents)? {
            Self::Map(m) => m.remove(last),
            Self::List(l) => {
                let index = last.parse::<usize>().ok()?;
                (index < l.len()).then(|| l.remove(index))
            }
            _ => None,
        }
    }

    /// This value as a map, becoming an empty one if it was something else.
    pub fn make_map(&mut self) -> &mut Map {
        if !matches!(self, Self::Map(_)) {
            *self = Self::map();
        }
        self.as_map_mut().expect("was just made a map")
    }

    /// This value as a list, becoming an empty one if it was something else.
    pub fn make_list(&mut self) -> &mut Vec<Value> {
        if !matches!(self, Self::List(_)) {
            *self = Self::List(Vec::new());
        }
        self.as_list_mut().expect("was just made a list")
    }

    /// Takes the value out, leaving null.
    #[must_use]
    pub fn take(&mut self) -> Value {
        std::mem::take(self)
    }

    /// What JSON calls this type of value.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "number",
            Self::String(_) => "string",
            Self::List(_) => "array",
            Self::Map(_) => "object",
        }
    }
}

impl fmt::Display for Value {
    /// As compact JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Builds a [`Value`] from JSON-like text with Rust expressions in it: `value!({"replicas": n, "names": ["a", name]})`.
/// A key is a literal, an identifier or an expression in parentheses.
#[macro_export]
macro_rules! value {
    (null) => { $crate::value::Value::Null };
    ([ $($body:tt)* ]) => {{
        #[allow(unused_mut, clippy::vec_init_then_push, reason = "the list may be empty")]
        let list = { let mut list = ::std::vec::Vec::new(); $crate::value_items!(list; $($body)*); list };
        $crate::value::Value::List(list)
    }};
    ({ $($body:tt)* }) => {{
        #[allow(unused_mut, reason = "the map may be empty")]
        let map = { let mut map = $crate::value::Map::new(); $crate::value_fields!(map; $($body)*); map };
        $crate::value::Value::Map(map)
    }};
    ($value:expr) => { $crate::value::Value::from($value) };
}

/// The fields of [`value!`].
#[doc(hidden)]
#[macro_export]
macro_rules! value_fields {
    ($map:ident;) => {};
    ($map:ident; $key:tt : null $(, $($rest:tt)*)?) => {
        $map.insert($key, $crate::value::Value::Null); $crate::value_fields!($map; $($($rest)*)?);
    };
    ($map:ident; $key:tt : [ $($body:tt)* ] $(, $($rest:tt)*)?) => {
        $map.insert($key, $crate::value!([ $($body)* ])); $crate::value_fields!($map; $($($rest)*)?);
    };
    ($map:ident; $key:tt : { $($body:tt)* } $(, $($rest:tt)*)?) => {
        $map.insert($key, $crate::value!({ $($body)* })); $crate::value_fields!($map; $($($rest)*)?);
    };
    ($map:ident; $key:tt : $value:expr $(, $($rest:tt)*)?) => {
        $map.insert($key, $crate::value::Value::from($value)); $crate::value_fields!($map; $($($rest)*)?);
    };
}

/// The items of [`value!`].
#[doc(hidden)]
#[macro_export]
macro_rules! value_items {
    ($list:ident;) => {};
    ($list:ident; null $(, $($rest:tt)*)?) => {
        $list.push($crate::value::Value::Null); $crate::value_items!($list; $($($rest)*)?);
    };
    ($list:ident; [ $($body:tt)* ] $(, $($rest:tt)*)?) => {
        $list.push($crate::value!([ $($body)* ])); $crate::value_items!($list; $($($rest)*)?);
    };
    ($list:ident; { $($body:tt)* } $(, $($rest:tt)*)?) => {
        $list.push($crate::value!({ $($body)* })); $crate::value_items!($list; $($($rest)*)?);
    };
    ($list:ident; $value:expr $(, $($rest:tt)*)?) => {
        $list.push($crate::value::Value::from($value)); $crate::value_items!($list; $($($rest)*)?);
    };
}

#[cfg(test)]
mod tests;
