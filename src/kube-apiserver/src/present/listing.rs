//! Lists: made of the bytes the cache keeps, copied piece by piece while they are sent, never as a whole.

use std::convert::Infallible;
use std::sync::Arc;

use apimachinery::{Object, Value, protobuf, value};
use bytes::Bytes;
use http::StatusCode;

use super::{convert, encoded, json, message_of, partial};
use crate::negotiate::{Encoding, Form, Projection};
use crate::query::Query;
use crate::registry::Resource;
use crate::reply::{self, Response};
use crate::stored::Stored;
use crate::table;

/// How large one piece of a list is, at least.
const PIECE: usize = 64 * 1024;

/// Answers with a list.
pub fn list(resource: &Resource, form: Form, meta: &Object, items: &[Arc<Stored>], query: &Query) -> Response {
    if form == Form::JSON {
        return answer(form.encoding, texts(resource, meta, items));
    }
    if form == Form::PROTOBUF
        && let Some(pieces) = messages(resource, meta, items)
    {
        return answer(form.encoding, pieces);
    }
    made_list(resource, form, meta, items.iter().map(|item| convert(resource, item)).collect(), query)
}

/// Answers with a list of objects that were made for this answer.
pub fn made_list(resource: &Resource, form: Form, meta: &Object, objects: Vec<Object>, query: &Query) -> Response {
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

fn texts(resource: &Resource, meta: &Object, items: &[Arc<Stored>]) -> Pieces {
    let head = format!(
        r#"{{"kind":"{}","apiVersion":"{}","metadata":{},"items":["#,
        resource.descriptor.list_kind(),
        resource.api_version(),
        Value::from(meta)
    );
    let items = match resource.served {
        None => Items::Texts(items.to_vec()),
        Some(_) => Items::MadeTexts(items.iter().map(|item| json(resource, item)).collect()),
    };
    Pieces { head: Some(head.into_bytes()), items, tail: b"]}\n".to_vec(), next: 0 }
}

/// `None` if there is something in the list that has no protobuf form.
fn messages(resource: &Resource, meta: &Object, items: &[Arc<Stored>]) -> Option<Pieces> {
    let items = match resource.served {
        // Whatever has to be made is made here, so that the lengths are known and the rest cannot fail.
        None if items.iter().all(|item| item.message().is_some()) => Items::Messages(items.to_vec()),
        None => return None,
        Some(_) => Items::MadeMessages(items.iter().map(|item| message_of(resource, item)).collect::<Option<_>>()?),
    };
    let lengths = (0..items.len()).map(|index| items.get(index).len());
    let kinds = (&*resource.api_version(), &*resource.descriptor.list_kind());
    let frame = protobuf::frame_list(kinds, meta.as_map(), lengths, api::schema()).ok()?;
    Some(Pieces { head: Some(frame.head), items, tail: frame.tail, next: 0 })
}

fn answer(encoding: Encoding, mut pieces: Pieces) -> Response {
    let body = match pieces.next() {
        Some(whole) if pieces.is_over() => reply::full(whole),
        first => {
            let all = futures::stream::iter(first.into_iter().chain(pieces));
            reply::stream(futures::StreamExt::map(all, Ok::<_, Infallible>))
        }
    };
    reply::respond(StatusCode::OK, encoding.media_type(), body)
}

/// What a list is made of.
enum Items {
    /// JSON as the cache keeps it.
    Texts(Vec<Arc<Stored>>),
    /// JSON made for this list.
    MadeTexts(Vec<Bytes>),
    /// Protobuf as the cache keeps it; all of it has been made.
    Messages(Vec<Arc<Stored>>),
    /// Protobuf made for this list.
    MadeMessages(Vec<Bytes>),
}

impl Items {
    fn len(&self) -> usize {
        match self {
            Self::Texts(kept) | Self::Messages(kept) => kept.len(),
            Self::MadeTexts(made) | Self::MadeMessages(made) => made.len(),
        }
    }

    fn get(&self, index: usize) -> &[u8] {
        match self {
            Self::Texts(kept) => kept[index].json(),
            Self::Messages(kept) => kept[index].message().expect("all messages were made before"),
            Self::MadeTexts(made) | Self::MadeMessages(made) => &made[index],
        }
    }

    fn append(&self, index: usize, out: &mut Vec<u8>) {
        match self {
            Self::Texts(_) | Self::MadeTexts(_) => {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(self.get(index));
            }
            Self::Messages(_) | Self::MadeMessages(_) => protobuf::put_list_item(out, self.get(index)),
        }
    }
}

struct Pieces {
    head: Option<Vec<u8>>,
    items: Items,
    tail: Vec<u8>,
    next: usize,
}

impl Pieces {
    fn is_over(&self) -> bool {
        self.head.is_none() && self.next > self.items.len()
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.is_over() {
            return None;
        }
        let head = self.head.take().unwrap_or_default();
        let (begin, mut size) = (self.next, head.len() + self.tail.len());
        while self.next < self.items.len() && size < PIECE {
            // A separator, or the key and length of a message.
            size += self.items.get(self.next).len() + 6;
            self.next += 1;
        }
        let mut piece = Vec::with_capacity(size);
        piece.extend_from_slice(&head);
        for index in begin..self.next {
            self.items.append(index, &mut piece);
        }
        if self.next == self.items.len() {
            piece.extend_from_slice(&self.tail);
            self.next += 1;
        }
        Some(piece.into())
    }
}
