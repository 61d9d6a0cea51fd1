//! Changing an object by a description of the change.

mod json;
mod strategic;

use crate::{
    json::DecodeError,
    object::Object,
    schema::{Schema, TypeId},
    value::Value,
};

/// A patch that was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It is no patch.
    #[error("error decoding patch: {0}")]
    Malformed(String),
    /// It has more operations than are carried out in one go.
    #[error("The allowed maximum operations in a JSON patch is {most}, got {found}")]
    TooLong {
        /// How many there may be.
        most: usize,
        /// How many there are.
        found: usize,
    },
    /// It does not fit the object.
    #[error("{0}")]
    DoesNotApply(String),
}

impl From<DecodeError> for PatchError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Applies an RFC 6902 patch: a list of operations, all or none of which happen.
pub fn json_patch(object: &Object, patch: &[u8]) -> Result<Object, PatchError> {
    let mut tree = Value::from(object);
    json::apply(&mut tree, &crate::json::decode_value(patch)?)?;
    finish(tree)
}

/// Applies an RFC 7386 patch: maps are merged, null deletes, all else replaces.
pub fn merge_patch(object: &Object, patch: &[u8]) -> Result<Object, PatchError> {
    let mut tree = Value::from(object);
    merge(&mut tree, crate::json::decode_value(patch)?);
    finish(tree)
}

/// Applies a strategic merge patch: like a merge patch, but lists are merged too where the schema says by which key.
pub fn strategic_merge_patch(
    object: &Object,
    patch: &Value,
    schema: &Schema,
    of: TypeId,
) -> Result<Object, PatchError> {
    let Value::Map(patch) = patch else {
        return Err(PatchError::Malformed(format!("an object was expected, not {}", patch.type_name())));
    };
    let mut tree = object.as_map().clone();
    strategic::Merger { schema }.merge_map(&mut tree, patch.clone(), Some(of))?;
    Ok(Object::from(tree))
}

fn finish(tree: Value) -> Result<Object, PatchError> {
    Object::try_from(tree).map_err(|error| PatchError::DoesNotApply(error.to_string()))
}

/// The merge of RFC 7386.
fn merge(target: &mut Value, patch: Value) {
    let Value::Map(fields) = patch else {
        *target = patch;
        return;
    };
    let target = target.make_map();
    for (key, value) in fields {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(&key), value);
        }
    }
}

#[cfg(test)]
mod tests;
