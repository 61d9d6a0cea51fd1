//! Objects and lists in the form a client asked for.

use std::sync::Arc;

use apimachinery::{Object, Value, protobuf, value};
use bytes::Bytes;
use http::StatusCode;

use crate::negotiate::{Encoding, Form, Projection};
use crate::query::Query;
use crate::registry::Resource;
use crate::reply::{self, Response};
use crate::stored::Stored;
use crate::table;

/// An object of the store in the group and version it is asked for in.
pub fn convert(resource: &Resource, stored: &Stored) -> Object {
    let mut object = stored.object();
    to_served(resource, &mut object);
    object
}

/// Turns an object of the stored version into the one it is asked for in.
pub fn to_served(resource: &Resource, object: &mut Object) {
    if let Some(served) = resource.served {
        (served.from_stored)(object);
        object.as_map_mut().insert("apiVersion", resource.api_version());
    }
}

/// Turns an object as it was sent into the stored version.
pub fn to_stored(resource: &Resource, object: &mut Object) {
    if let Some(served) = resource.served {
        (served.to_stored)(object);
        object.as_map_mut().insert("apiVersion", resource.descriptor.api_version());
    }
}

/// The JSON of an object; the bytes of the cache if nothing has to change.
pub fn json(resource: &Resource, stored: &Stored) -> Bytes {
    match resource.served {
        None => stored.json().clone(),
        Some(_) => to_json(&Value::from(convert(resource, stored))),
    }
}

/// The JSON of a tree.
pub fn to_json(value: &Value) -> Bytes {
    serde_json::to_vec(value).expect("a tree can always be written").into()
}

/// The protobuf of an object in its envelope; made once if nothing has to change.
pub fn protobuf_of(resource: &Resource, stored: &Stored) -> Option<Bytes> {
    let (version, kind) = (resource.api_version(), resource.descriptor.kind);
    let message = message_of(resource, stored)?;
    Some(protobuf::envelope(&version, kind, &message).into())
}

fn message_of(resource: &Resource, stored: &Stored) -> Option<Bytes> {
    if resource.served.is_none() {
        return stored.message().cloned();
    }
    let object = convert(resource, stored);
    let schema = api::schema();
    let of = schema.type_of(object.api_version(), object.kind())?;
    protobuf::encode_message(object.as_map(), schema, of).ok().map(Bytes::from)
}

/// The protobuf of a tree in its envelope; `None` if it has no such form.
pub fn to_protobuf(tree: &Value) -> Option<Bytes> {
    let object = Object::try_from(tree.clone()).ok()?;
    let schema = api::schema();
    let of = schema.type_of(object.api_version(), object.kind())?;
    let encoded = protobuf::encode(&object, schema, of);
    encoded.inspect_err(|error| tracing::error!(%error, "an object has no protobuf form")).ok().map(Bytes::from)
}

/// The metadata of an object, as `PartialObjectMetadata`.
pub fn partial(object: &Object) -> Value {
    value!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.metadata().clone(),
    })
}

/// Answers with one object of the store.
pub fn stored(resource: &Resource, form: Form, code: StatusCode, stored: &Arc<Stored>, query: &Query) -> Response {
    if form == Form::JSON {
        return reply::json(code, json(resource, stored));
    }
    if form == Form::PROTOBUF
        && let Some(bytes) = protobuf_of(resource, stored)
    {
        return reply::respond(code, protobuf::CONTENT_TYPE, reply::full(bytes));
    }
    let object = convert(resource, stored);
    let tree = match form.projection {
        Projection::Whole => object.into_value(),
        Projection::Metadata => partial(&object),
        Projection::Table => {
            let version = object.resource_version().to_owned();
            let rows = [object];
            table::of(resource.descriptor, &rows, &meta(&version, None, None), query).into()
        }
    };
    encoded(form.encoding, code, &tree)
}

/// Answers with an object that is not in the store, always as a whole.
pub fn object(form: Form, code: StatusCode, object: &Object) -> Response {
    encoded(form.encoding, code, &Value::from(object))
}

/// Answers with a tree.
pub fn encoded(encoding: Encoding, code: StatusCode, tree: &Value) -> Response {
    match encoding {
        Encoding::Json => reply::json(code, to_json(tree)),
        Encoding::Yaml => {
            let text = serde_saphyr::to_string(tree).unwrap_or_else(|_| tree.to_string());
            reply::respond(code, encoding.media_type(), reply::full(text))
        }
        // What has no protobuf form is told in JSON, and the media type says so.
        Encoding::Protobuf => match to_protobuf(tree) {
            Some(bytes) => reply::respond(code, encoding.media_type(), reply::full(bytes)),
            None => reply::json(code, to_json(tree)),
        },
    }
}

/// The metadata of a list.
pub fn meta(revision: &str, next: Option<&str>, remaining: Option<usize>) -> Object {
    let mut meta = Object::default();
    meta.set_at(&["resourceVersion"], revision);
    if let Some(next) = next {
        meta.set_at(&["continue"], next);
    }
    if let Some(remaining) = remaining.filter(|remaining| *remaining > 0) {
        meta.set_at(&["remainingItemCount"], i64::try_from(remaining).unwrap_or(i64::MAX));
    }
    meta
}

/// Answers with a list.
pub fn list(resource: &Resource, form: Form, meta: &Object, items: &[Arc<Stored>], query: &Query) -> Response {
    if form == Form::JSON {
        return list_of_bytes(resource, meta, items);
    }
    if form == Form::PROTOBUF
        && let Some(bytes) = list_of_messages(resource, meta, items)
    {
        return reply::respond(StatusCode::OK, protobuf::CONTENT_TYPE, reply::full(bytes));
    }
    let objects: Vec<Object> = items.iter().map(|item| convert(resource, item)).collect();
    let tree = match form.projection {
        Projection::Table => table::of(resource.descriptor, &objects, meta, query).into(),
        Projection::Metadata => value!({
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": meta.clone().into_value(),
            "items": objects.iter().map(partial).collect::<Value>(),
        }),
        Projection::Whole => value!({
            "kind": resource.descriptor.list_kind(),
            "apiVersion": resource.api_version(),
            "metadata": meta.clone().into_value(),
            "items": objects.into_iter().map(Object::into_value).collect::<Value>(),
        }),
    };
    encoded(form.encoding, StatusCode::OK, &tree)
}

/// A list made of the messages the cache keeps.
fn list_of_messages(resource: &Resource, meta: &Object, items: &[Arc<Stored>]) -> Option<Vec<u8>> {
    let messages: Vec<Bytes> = items.iter().map(|item| message_of(resource, item)).collect::<Option<_>>()?;
    let (version, kind) = (resource.api_version(), resource.descriptor.list_kind());
    let items = messages.iter().map(|message| &**message);
    protobuf::encode_list((&version, &kind), meta.as_map(), items, api::schema()).ok()
}

/// How large one piece of a list is, at least.
const PIECE: usize = 64 * 1024;

/// A list made of the bytes the cache keeps, copied piece by piece while it is sent, never as a whole.
fn list_of_bytes(resource: &Resource, meta: &Object, items: &[Arc<Stored>]) -> Response {
    let head = format!(
        r#"{{"kind":"{}","apiVersion":"{}","metadata":{},"items":["#,
        resource.descriptor.list_kind(),
        resource.api_version(),
        Value::from(meta)
    );
    let texts: Vec<Bytes> = items.iter().map(|item| json(resource, item)).collect();
    let total: usize = texts.iter().map(Bytes::len).sum();
    if total < PIECE {
        let mut whole = Vec::with_capacity(head.len() + total + texts.len() + 3);
        whole.extend_from_slice(head.as_bytes());
        append_items(&mut whole, &texts, true);
        whole.extend_from_slice(b"]}\n");
        return reply::json(StatusCode::OK, whole);
    }
    let pieces = futures::stream::iter(Pieces { head: Some(head), texts, next: 0 });
    let body = reply::stream(futures::StreamExt::map(pieces, Ok::<_, std::convert::Infallible>));
    reply::respond(StatusCode::OK, reply::JSON, body)
}

fn append_items(buffer: &mut Vec<u8>, texts: &[Bytes], first: bool) {
    for (index, text) in texts.iter().enumerate() {
        if index > 0 || !first {
            buffer.push(b',');
        }
        buffer.extend_from_slice(text);
    }
}

struct Pieces {
    head: Option<String>,
    texts: Vec<Bytes>,
    next: usize,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut piece = match self.head.take() {
            Some(head) => head.into_bytes(),
            None if self.next > self.texts.len() => return None,
            None => Vec::with_capacity(PIECE + PIECE / 4),
        };
        let begin = self.next;
        let mut size = 0;
        while self.next < self.texts.len() && size < PIECE {
            size += self.texts[self.next].len();
            self.next += 1;
        }
        append_items(&mut piece, &self.texts[begin..self.next], begin == 0);
        if self.next == self.texts.len() {
            piece.extend_from_slice(b"]}\n");
            self.next += 1;
        }
        Some(piece.into())
    }
}
