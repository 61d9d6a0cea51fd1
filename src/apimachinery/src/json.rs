//! JSON in and out. Reading follows the schema: it prunes, reports what it pruned, and brings values into canonical form.

mod encode;
pub(crate) mod leaf;
mod lex;
mod read;

pub use encode::{encode, encode_object, encode_with_revision, inject_revision};

use crate::{
    object::Object,
    schema::{Schema, Type, TypeId},
    value::Value,
};
use read::Reader;

/// What happens to fields that are unknown or there twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validation {
    /// They are dropped.
    Ignore,
    /// They are dropped, and reported as warnings.
    #[default]
    Warn,
    /// They are errors.
    Strict,
}

/// An object that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object, without what the schema does not know.
    pub object: Object,
    /// What was dropped.
    pub warnings: Vec<String>,
}

/// A body that is no object of its type. The words are upstream's, as far as clients may look at them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not well formed.
    #[error("{0}")]
    Syntax(String),
    /// It is nested too deeply.
    #[error("exceeded max depth")]
    TooDeep,
    /// A value has the wrong type.
    #[error("json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {expected}")]
    Type {
        /// What was found.
        found: String,
        /// The type the field belongs to.
        owner: String,
        /// The field, from the top.
        path: String,
        /// What the field holds.
        expected: String,
    },
    /// A value has the right type, but means nothing.
    #[error("{why}")]
    Value {
        /// The field, from the top.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// There were unknown or duplicate fields, and they were forbidden.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
}

/// The deepest nesting that is read.
pub const MAX_DEPTH: usize = 200;

/// How to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What happens to unknown and duplicate fields.
    pub validation: Validation,
    /// Whether values are left as written, instead of dropping zeros that mean nothing. Apply patches need this.
    pub verbatim: bool,
}

/// Reads an object. Without a type, every field is kept as it is.
pub fn decode(
    bytes: &[u8],
    schema: &Schema,
    of: Option<TypeId>,
    validation: Validation,
) -> Result<Decoded, DecodeError> {
    decode_with(bytes, schema, of, Options { validation, verbatim: false })
}

/// Reads an object, with all choices.
pub fn decode_with(
    bytes: &[u8],
    schema: &Schema,
    of: Option<TypeId>,
    options: Options,
) -> Result<Decoded, DecodeError> {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader::new(&text, schema, options);
    let value = reader.document(&of.map_or(Type::Json, Type::Object))?;
    let warnings = reader.into_issues();
    if options.validation == Validation::Strict && !warnings.is_empty() {
        return Err(DecodeError::Strict(warnings));
    }
    let type_name = value.type_name();
    let object = Object::try_from(value)
        .map_err(|_| DecodeError::Syntax(format!("json: cannot unmarshal {type_name} into an object of the API")))?;
    Ok(Decoded { object, warnings })
}

/// Reads any JSON, without a schema.
pub fn decode_value(bytes: &[u8]) -> Result<Value, DecodeError> {
    let text = String::from_utf8_lossy(bytes);
    let empty = Schema::new();
    Reader::new(&text, &empty, Options { validation: Validation::Ignore, verbatim: true }).document(&Type::Json)
}

/// Checks a tree that did not come from JSON against a type, as if it had.
pub fn conform(object: &Object, schema: &Schema, of: TypeId, options: Options) -> Result<Decoded, DecodeError> {
    decode_with(&encode_object(object), schema, Some(of), options)
}

#[cfg(test)]
mod tests;
