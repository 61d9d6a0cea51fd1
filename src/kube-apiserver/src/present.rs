//! Objects and lists in the form a client asked for.

mod listing;

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

pub use listing::{list, made_list};

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
    encoded(form.encoding, code, &projected(resource, form, convert(resource, stored), query))
}

/// Answers with one object that was made for this answer.
pub fn made(resource: &Resource, form: Form, object: Object, query: &Query) -> Response {
    encoded(form.encoding, StatusCode::OK, &projected(resource, form, object, query))
}

fn projected(resource: &Resource, form: Form, object: Object, query: &Query) -> Value {
    match form.projection {
        Projection::Whole => object.into_value(),
        Projection::Metadata => partial(&object),
        Projection::Table => {
            let version = object.resource_version().to_owned();
            let rows = [object];
            table::of(resource.descriptor, &rows, &meta(&version, None, None), query).into()
        }
    }
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
