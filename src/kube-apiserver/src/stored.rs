//! An object as the cache keeps it: the bytes clients get, and a parsed header for selectors.

mod header;

use std::sync::{Arc, OnceLock};

use api::ResourceDescriptor;
use apimachinery::selector::Labels;
use apimachinery::{Map, Object, protobuf};
use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};
use storage::{Codec, DecodeError};

use crate::encryption::{Encryption, Sealer};
use header::Header;
pub use header::field_default;

/// One object at one revision.
pub struct Stored {
    /// The resourceVersion.
    pub revision: i64,
    /// `metadata.namespace`, or empty.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.labels`.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// The values of the row's selectable fields, in the row's order.
    pub fields: Box<[Box<str>]>,
    /// Whether etcd has it in a form that the next write should renew: sealed with an old key, or not sealed.
    pub stale: bool,
    json: Bytes,
    /// The protobuf message, made when first asked for and then shared.
    message: OnceLock<Option<Bytes>>,
    descriptor: &'static ResourceDescriptor,
}

impl Stored {
    /// The object as JSON in its stored version, with its resourceVersion.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The object as a protobuf message in its stored version, without envelope; `None` if it has no such form.
    pub fn message(&self) -> Option<&Bytes> {
        self.message.get_or_init(|| message_of(&self.object())).as_ref()
    }

    /// Makes the message from the tree this was just written from, which saves reading it again.
    pub fn make_message(&self, mut written: Object) {
        written.set_resource_version(&self.revision.to_string());
        self.message.get_or_init(|| message_of(&written));
    }

    /// The object as a tree.
    ///
    /// # Panics
    /// Never: the bytes were read once when the object came in.
    pub fn object(&self) -> Object {
        parse(&self.json).expect("what was decoded once can be decoded again")
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| **name == *key).map(|(_, value)| &**value)
    }

    /// The value of a selectable field of the stored version.
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(&self.name),
            "metadata.namespace" => self.descriptor.is_namespaced().then_some(&*self.namespace),
            _ => {
                let at = self.descriptor.selectable_fields.iter().position(|field| *field == name)?;
                self.fields.get(at).map(|value| &**value)
            }
        }
    }

    /// The row of the table.
    pub fn descriptor(&self) -> &'static ResourceDescriptor {
        self.descriptor
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}@{}", self.descriptor.kind, self.namespace, self.name, self.revision)
    }
}

impl Labels for Stored {
    fn label(&self, key: &str) -> Option<&str> {
        Stored::label(self, key)
    }
}

fn message_of(object: &Object) -> Option<Bytes> {
    let schema = api::schema();
    let of = schema.type_of(object.api_version(), object.kind())?;
    let made = protobuf::encode_message(object.as_map(), schema, of);
    made.inspect_err(|error| tracing::error!(%error, "an object has no protobuf form")).ok().map(Bytes::from)
}

/// Reads the tree of a JSON text.
fn parse(json: &[u8]) -> Result<Object, serde_json::Error> {
    serde_json::from_slice(json)
}

/// The bytes of an object as they go into etcd: kind and metadata first, and nothing that only a revision can tell.
pub fn encode(object: &Object) -> Bytes {
    let text = serde_json::to_vec(&Arranged(object));
    Bytes::from(text.expect("a tree can always be written"))
}

struct Arranged<'a>(&'a Object);

impl Serialize for Arranged<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("apiVersion", self.0.api_version())?;
        fields.serialize_entry("kind", self.0.kind())?;
        fields.serialize_entry("metadata", &Unversioned(self.0.metadata()))?;
        for (key, value) in self.0.as_map().iter() {
            if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                fields.serialize_entry(key.as_str(), value)?;
            }
        }
        fields.end()
    }
}

struct Unversioned<'a>(&'a Map);

impl Serialize for Unversioned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kept = self.0.iter().filter(|(key, _)| !matches!(key.as_str(), "resourceVersion" | "selfLink"));
        serializer.collect_map(kept.map(|(key, value)| (key.as_str(), value)))
    }
}

/// Turns values of etcd into [`Stored`] objects of one kind.
pub struct ObjectCodec {
    descriptor: &'static ResourceDescriptor,
    /// How every value written by this program begins, up to where the resourceVersion belongs.
    opening: Vec<u8>,
    sealer: Sealer,
}

impl ObjectCodec {
    /// The codec of a kind.
    pub fn new(descriptor: &'static ResourceDescriptor, encryption: &Arc<Encryption>) -> Self {
        let opening =
            format!(r#"{{"apiVersion":"{}","kind":"{}","metadata":{{"#, descriptor.api_version(), descriptor.kind);
        Self { descriptor, opening: opening.into_bytes(), sealer: encryption.of(descriptor.group, descriptor.plural) }
    }

    /// How values become what etcd keeps.
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// An object made of bytes in the clear and the revision of their write.
    pub fn stored(&self, value: &Bytes, revision: i64) -> Result<Stored, DecodeError> {
        if value.starts_with(protobuf::MAGIC) {
            let schema = api::schema();
            let of = schema.type_of(&self.descriptor.api_version(), self.descriptor.kind);
            let value = encode(&protobuf::decode(value, schema, of)?);
            return self.stored(&value, revision);
        }
        if value.starts_with(&self.opening) {
            return self.with_revision(value, &self.opening, revision);
        }
        let object = parse(value)?;
        let value = encode(&object);
        if !value.starts_with(&self.opening) {
            let (found, wanted) = (object.gvk(), self.descriptor.kind);
            return Err(format!("found {found} where {wanted} belongs").into());
        }
        self.with_revision(&value, &self.opening, revision)
    }

    /// Puts the resourceVersion in without parsing the value.
    fn with_revision(&self, value: &[u8], head: &[u8], revision: i64) -> Result<Stored, DecodeError> {
        let rest = &value[head.len()..];
        let comma = if rest.first() == Some(&b'}') { "" } else { "," };
        let version = format!(r#""resourceVersion":"{revision}"{comma}"#);
        let mut json = Vec::with_capacity(value.len() + version.len());
        json.extend_from_slice(head);
        json.extend_from_slice(version.as_bytes());
        json.extend_from_slice(rest);
        let header = Header::read(&json, self.descriptor)?;
        Ok(Stored {
            revision,
            namespace: header.namespace,
            name: header.name,
            uid: header.uid,
            labels: header.labels,
            fields: header.fields,
            stale: false,
            json: json.into(),
            message: OnceLock::new(),
            descriptor: self.descriptor,
        })
    }
}

impl Codec<Stored> for ObjectCodec {
    fn decode(&self, key: &str, value: Bytes, revision: i64) -> Result<Stored, DecodeError> {
        let opened = self.sealer.open(key, &value)?;
        Ok(Stored { stale: opened.stale, ..self.stored(&opened.plain, revision)? })
    }

    fn deleted(&self, last: &Arc<Stored>, revision: i64) -> Arc<Stored> {
        let old = format!(r#""resourceVersion":"{}""#, last.revision);
        let mut head = self.opening.clone();
        head.extend_from_slice(old.as_bytes());
        let Some(rest) = last.json.strip_prefix(head.as_slice()) else { return Arc::clone(last) };
        let rest = rest.strip_prefix(b",").unwrap_or(rest);
        let value = [self.opening.as_slice(), rest].concat();
        self.with_revision(&value, &self.opening, revision).map_or_else(|_| Arc::clone(last), Arc::new)
    }
}

#[cfg(test)]
mod tests;
