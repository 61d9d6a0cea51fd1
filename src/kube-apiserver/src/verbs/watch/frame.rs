//! Events as they go over the wire, in the form the watcher asked for.

use std::sync::Arc;

use apimachinery::{Object, Status, Value, protobuf};
use bytes::Bytes;
use storage::Delivery;

use crate::negotiate::{Encoding, Form, Projection};
use crate::present;
use crate::query::Query;
use crate::registry::Resource;
use crate::stored::Stored;
use crate::table;

/// The annotation of the bookmark behind the initial objects.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is new to the watcher.
    Added,
    /// It was written.
    Modified,
    /// It is gone.
    Deleted,
}

impl Kind {
    const COUNT: usize = 3;

    fn text(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// Writes events for one watcher.
pub(super) struct Framer {
    resource: Arc<Resource>,
    form: Form,
    query: Query,
    /// The columns of a table are told once.
    columns_told: bool,
}

impl Framer {
    pub(super) fn new(resource: &Arc<Resource>, form: Form, query: &Query) -> Self {
        Self { resource: Arc::clone(resource), form, query: query.clone(), columns_told: false }
    }

    /// An event in the form most watchers want, made once for all of them; `None` if it has to be made for this one.
    pub(super) fn shared<'e>(&self, kind: Kind, object: &Stored, event: &'e Delivery<Stored>) -> Option<&'e Bytes> {
        if self.resource.served.is_some() {
            return None;
        }
        if self.form == Form::JSON {
            return Some(event.shared(kind as usize, || whole(|batch| frame(batch, kind.text(), object.json()))));
        }
        if self.form == Form::PROTOBUF && object.message().is_some() {
            return Some(event.shared(Kind::COUNT + kind as usize, || {
                let object = present::protobuf_of(&self.resource, object).unwrap_or_default();
                protobuf::encode_watch_event(kind.text(), &object).into()
            }));
        }
        None
    }

    /// An object that no longer matches: gone for this watcher, with its last matching state at the new revision.
    pub(super) fn left(&mut self, batch: &mut Vec<u8>, old: &Stored, revision: i64) {
        let mut object = present::convert(&self.resource, old);
        object.set_resource_version(&revision.to_string());
        let shown = self.shown(object);
        self.write(batch, "DELETED", &shown);
    }

    pub(super) fn bookmark(&mut self, batch: &mut Vec<u8>, revision: i64) {
        self.mark(batch, revision, false);
    }

    /// The bookmark behind the initial objects.
    pub(super) fn initial_end(&mut self, batch: &mut Vec<u8>, revision: i64) {
        self.mark(batch, revision, true);
    }

    fn mark(&mut self, batch: &mut Vec<u8>, revision: i64, initial_end: bool) {
        let mut object = Object::new(&self.resource.api_version(), self.resource.descriptor.kind);
        object.set_resource_version(&revision.to_string());
        object.set_at(&["metadata", "creationTimestamp"], Value::Null);
        if initial_end {
            object.set_annotation(INITIAL_END, "true");
        }
        let shown = match self.form.projection {
            Projection::Whole => object.into_value(),
            Projection::Metadata => present::partial(&object),
            Projection::Table => {
                let meta = present::meta(&revision.to_string(), None, None);
                table::rows_only(self.resource.descriptor, &[object], &meta, &self.query).into_value()
            }
        };
        self.write(batch, "BOOKMARK", &shown);
    }

    /// Writes an event for this watcher alone.
    pub(super) fn event(&mut self, batch: &mut Vec<u8>, kind: Kind, object: &Stored) {
        if self.form == Form::JSON {
            return frame(batch, kind.text(), &present::json(&self.resource, object));
        }
        if self.form == Form::PROTOBUF
            && let Some(bytes) = present::protobuf_of(&self.resource, object)
        {
            return batch.extend_from_slice(&protobuf::encode_watch_event(kind.text(), &bytes));
        }
        let shown = self.shown(present::convert(&self.resource, object));
        self.write(batch, kind.text(), &shown);
    }

    /// The event that ends a watch with a failure.
    pub(super) fn error(&self, status: &Status) -> Vec<u8> {
        let mut batch = Vec::new();
        self.write(&mut batch, "ERROR", &status.to_value());
        batch
    }

    fn write(&self, batch: &mut Vec<u8>, kind: &str, tree: &Value) {
        if self.form.encoding != Encoding::Protobuf {
            return frame(batch, kind, &present::to_json(tree));
        }
        if let Some(bytes) = present::to_protobuf(tree) {
            batch.extend_from_slice(&protobuf::encode_watch_event(kind, &bytes));
        }
    }

    fn shown(&mut self, object: Object) -> Value {
        match self.form.projection {
            Projection::Whole => object.into_value(),
            Projection::Metadata => present::partial(&object),
            Projection::Table => {
                let meta = present::meta(object.resource_version(), None, None);
                let (descriptor, rows) = (self.resource.descriptor, [object]);
                let first = !std::mem::replace(&mut self.columns_told, true);
                let table = if first { table::of } else { table::rows_only };
                table(descriptor, &rows, &meta, &self.query).into_value()
            }
        }
    }
}

fn whole(write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes.into()
}

fn frame(batch: &mut Vec<u8>, kind: &str, object: &[u8]) {
    batch.reserve(object.len() + 40);
    batch.extend_from_slice(b"{\"type\":\"");
    batch.extend_from_slice(kind.as_bytes());
    batch.extend_from_slice(b"\",\"object\":");
    batch.extend_from_slice(object);
    batch.extend_from_slice(b"}\n");
}
