//! How stored bytes become what a cache holds.

use bytes::Bytes;
use std::sync::Arc;

/// Why one value could not be decoded.
pub type DecodeError = Box<dyn std::error::Error + Send + Sync>;

/// Turns stored values into the type of a cache. A closure `Fn(&str, Bytes, i64) -> Result<T, DecodeError>` is one.
pub trait Codec<T>: Send + Sync + 'static {
    /// Decodes the value of `key` written at `revision`.
    fn decode(&self, key: &str, value: Bytes, revision: i64) -> Result<T, DecodeError>;

    /// The last state of a deleted object as it looks at the `revision` of its deletion.
    ///
    /// Made once per deletion and shared by all watchers; the default keeps the old revision.
    fn deleted(&self, last: &Arc<T>, revision: i64) -> Arc<T> {
        let _ = revision;
        Arc::clone(last)
    }
}

impl<T, F> Codec<T> for F
where
    F: Fn(&str, Bytes, i64) -> Result<T, DecodeError> + Send + Sync + 'static,
{
    fn decode(&self, key: &str, value: Bytes, revision: i64) -> Result<T, DecodeError> {
        self(key, value, revision)
    }
}

/// A stored value that this build cannot decode.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("value of {key} at revision {revision} cannot be decoded: {reason}")]
pub struct Undecodable {
    /// The key of the value.
    pub key: String,
    /// The revision of the value.
    pub revision: i64,
    /// What the codec said.
    pub reason: String,
}
