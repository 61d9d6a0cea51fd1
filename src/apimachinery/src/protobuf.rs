//! Protobuf in and out, for every kind with protobuf numbers in the schema.
//!
//! An object on the wire is the four bytes `k8s\0` and a message that names the kind and carries the object's own message.

mod read;
mod wire;
mod write;

use crate::{
    json::{self, Validation},
    object::Object,
    schema::{Schema, TypeId},
    value::Map,
};
use wire::{Input, Wire, WireError, put_bytes, put_key, put_varint, varint_size};

/// What every object on the wire starts with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// The content type of single objects.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Bytes that are no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first four bytes are others.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoMagic,
    /// The message is cut short or contradicts itself.
    #[error("proto: {0}")]
    Malformed(String),
    /// The kind has no schema.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind {
        /// Group and version.
        api_version: String,
        /// The kind.
        kind: String,
    },
    /// The object is compressed or in a format other than protobuf and JSON.
    #[error("unsupported content type {0:?} inside the envelope")]
    UnknownContent(String),
    /// A value means nothing.
    #[error("{0}")]
    Value(String),
}

impl From<WireError> for DecodeError {
    fn from(error: WireError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// A tree that does not have the shape its schema says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field {field:?} of {owner} cannot be written as protobuf")]
pub struct EncodeError {
    /// The short name of the type.
    pub owner: String,
    /// The field.
    pub field: String,
}

/// Whether bytes are an object in protobuf.
pub fn is_protobuf(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads an object. The type is taken from the bytes unless it is given.
pub fn decode(bytes: &[u8], schema: &Schema, of: Option<TypeId>) -> Result<Object, DecodeError> {
    let envelope = Envelope::read(bytes)?;
    let known = schema.type_of(envelope.api_version, envelope.kind);
    // Bodies may leave their kind to the request.
    let of = if envelope.kind.is_empty() { of } else { known };
    let of = of.ok_or_else(|| DecodeError::UnknownKind {
        api_version: envelope.api_version.into(),
        kind: envelope.kind.into(),
    })?;
    let mut map = Map::new();
    if !envelope.kind.is_empty() {
        map.push("apiVersion", envelope.api_version);
        map.push("kind", envelope.kind);
    }
    match (envelope.encoding, envelope.content_type) {
        ("", "" | CONTENT_TYPE) => read::Reader::new(schema).message(envelope.raw, of, &mut map)?,
        ("", "application/json") => {
            let decoded = json::decode(envelope.raw, schema, Some(of), Validation::Ignore)
                .map_err(|error| DecodeError::Value(error.to_string()))?;
            map.extend(decoded.object.into_map());
        }
        ("", other) | (other, _) => return Err(DecodeError::UnknownContent(other.into())),
    }
    Ok(Object::from(map))
}

/// Reads a message that has no envelope.
pub fn decode_message(bytes: &[u8], schema: &Schema, of: TypeId) -> Result<Map, DecodeError> {
    let mut map = Map::new();
    read::Reader::new(schema).message(bytes, of, &mut map)?;
    Ok(map)
}

/// The object with its envelope.
pub fn encode(object: &Object, schema: &Schema, of: TypeId) -> Result<Vec<u8>, EncodeError> {
    let message = encode_message(object.as_map(), schema, of)?;
    Ok(envelope(object.api_version(), object.kind(), &message))
}

/// The message of a map, without envelope.
pub fn encode_message(map: &Map, schema: &Schema, of: TypeId) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(512);
    write::Writer { schema }.message(&mut out, map, of)?;
    Ok(out)
}

/// A message in its envelope.
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut type_meta = Vec::with_capacity(64);
    put_bytes(&mut type_meta, 1, api_version.as_bytes());
    put_bytes(&mut type_meta, 2, kind.as_bytes());
    let mut out = Vec::with_capacity(message.len() + type_meta.len() + 32);
    out.extend_from_slice(MAGIC);
    put_bytes(&mut out, 1, &type_meta);
    put_bytes(&mut out, 2, message);
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    out
}

/// What stands before and behind the items of a list in its envelope: lists are sent without ever being a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFrame {
    /// What comes first.
    pub head: Vec<u8>,
    /// What comes behind the items, each of them written by [`put_list_item`].
    pub tail: Vec<u8>,
}

/// The frame of a list whose items have messages of these lengths.
pub fn frame_list(
    (api_version, kind): (&str, &str),
    metadata: &Map,
    lengths: impl IntoIterator<Item = usize>,
    schema: &Schema,
) -> Result<ListFrame, EncodeError> {
    let mut first = Vec::with_capacity(64);
    if let Some(list_meta) = schema.type_named("meta.v1.ListMeta") {
        put_bytes(&mut first, 1, &encode_message(metadata, schema, list_meta)?);
    }
    let items: usize = lengths.into_iter().map(|length| 1 + varint_size(length as u64) + length).sum();
    let mut type_meta = Vec::with_capacity(64);
    put_bytes(&mut type_meta, 1, api_version.as_bytes());
    put_bytes(&mut type_meta, 2, kind.as_bytes());
    let mut head = MAGIC.to_vec();
    put_bytes(&mut head, 1, &type_meta);
    put_key(&mut head, 2, Wire::Bytes);
    put_varint(&mut head, (first.len() + items) as u64);
    head.extend_from_slice(&first);
    let mut tail = Vec::with_capacity(4);
    put_bytes(&mut tail, 3, b"");
    put_bytes(&mut tail, 4, b"");
    Ok(ListFrame { head, tail })
}

/// Writes one item of a list.
pub fn put_list_item(out: &mut Vec<u8>, message: &[u8]) {
    put_bytes(out, 2, message);
}

/// One event of a watch, with the length that goes before it on the stream. The object has its envelope.
pub fn encode_watch_event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(object.len() + 8);
    put_bytes(&mut raw, 1, object);
    let mut out = vec![0; 4];
    put_bytes(&mut out, 1, kind.as_bytes());
    put_bytes(&mut out, 2, &raw);
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// The message around an object.
struct Envelope<'b> {
    api_version: &'b str,
    kind: &'b str,
    raw: &'b [u8],
    encoding: &'b str,
    content_type: &'b str,
}

impl<'b> Envelope<'b> {
    fn read(bytes: &'b [u8]) -> Result<Self, DecodeError> {
        let body = bytes.strip_prefix(MAGIC).ok_or(DecodeError::NoMagic)?;
        let mut envelope = Self { api_version: "", kind: "", raw: &[], encoding: "", content_type: "" };
        let mut input = Input::new(body);
        while let Some((tag, wire)) = input.key()? {
            match tag {
                1 => envelope.read_type(input.bytes(wire)?)?,
                2 => envelope.raw = input.bytes(wire)?,
                3 => envelope.encoding = input.text(wire)?,
                4 => envelope.content_type = input.text(wire)?,
                _ => input.skip(wire)?,
            }
        }
        Ok(envelope)
    }

    fn read_type(&mut self, bytes: &'b [u8]) -> Result<(), DecodeError> {
        let mut input = Input::new(bytes);
        while let Some((tag, wire)) = input.key()? {
            match tag {
                1 => self.api_version = input.text(wire)?,
                2 => self.kind = input.text(wire)?,
                _ => input.skip(wire)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
