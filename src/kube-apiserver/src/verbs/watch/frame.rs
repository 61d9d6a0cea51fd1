//! Events as they go over the wire, in the form the watcher asked for.

use std::sync::Arc;

use apimachinery::{Object, Status, Value, protobuf};

use crate::negotiate::{Encoding, Form, Projection};
use crate::present;
use crate::query::Query;
use crate::registry::Resource;
use crate::stored::Stored;
use crate::table;

/// The annotation of the bookmark behind the initial objects.
const INITIAL_END: &str = "k8s.io/initial-events-end";

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

    pub(super) fn added(&mut self, batch: &mut Vec<u8>, object: &Stored) {
        self.event(batch, "ADDED", object);
    }

    pub(super) fn modified(&mut self, batch: &mut Vec<u8>, object: &Stored) {
        self.event(batch, "MODIFIED", object);
    }

    pub(super) fn deleted(&mut self, batch: &mut Vec<u8>, object: &Stored) {
        self.event(batch, "DELETED", object);
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

    fn event(&mut self, batch: &mut Vec<u8>, kind: &str, object: &Stored) {
        if self.form == Form::JSON {
            return frame(batch, kind, &present::json(&self.resource, object));
        }
        if self.form == Form::PROTOBUF
            && let Some(bytes) = present::protobuf_of(&self.resource, object)
        {
            return batch.extend_from_slice(&protobuf::encode_watch_event(kind, &bytes));
        }
        let shown = self.shown(present::convert(&self.resource, object));
        self.write(batch, kind, &shown);
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

fn frame(batch: &mut Vec<u8>, kind: &str, object: &[u8]) {
    batch.reserve(object.len() + 40);
    batch.extend_from_slice(b"{\"type\":\"");
    batch.extend_from_slice(kind.as_bytes());
    batch.extend_from_slice(b"\",\"object\":");
    batch.extend_from_slice(object);
    batch.extend_from_slice(b"}\n");
}
