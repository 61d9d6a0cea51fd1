//! `metadata.managedFields`.

use super::{FieldSet, Manager};
use crate::{object::Object, value, value::Value};

/// So many updaters are told apart; what the oldest of the others own goes to one manager of this name.
const MOST_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// What one manager owns.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) subresource: String,
    pub(super) api_version: String,
    pub(super) time: String,
    pub(super) set: FieldSet,
}

/// All managers of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Managers {
    pub(super) entries: Vec<Entry>,
}

impl Entry {
    pub(super) fn new(manager: Manager<'_>, operation: Operation, api_version: &str, set: FieldSet) -> Self {
        Self {
            manager: manager.name.into(),
            operation,
            subresource: manager.subresource.into(),
            api_version: api_version.into(),
            time: manager.time.into(),
            set,
        }
    }

    /// The manager as conflicts name it.
    pub(super) fn shown(&self) -> String {
        let mut shown = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            shown = format!("{shown} with subresource {:?}", self.subresource);
        }
        match (self.operation, self.time.as_str()) {
            (Operation::Apply, _) => shown,
            (Operation::Update, "") => format!("{shown} using {}", self.api_version),
            (Operation::Update, time) => format!("{shown} using {} at {time}", self.api_version),
        }
    }

    fn same_manager(&self, other: &Self) -> bool {
        // An applier is one manager, whatever version it speaks.
        let version = self.operation == Operation::Apply || self.api_version == other.api_version;
        version
            && (&self.manager, self.operation, &self.subresource)
                == (&other.manager, other.operation, &other.subresource)
    }

    fn to_value(&self) -> Value {
        let mut entry = value!({
            "manager": &self.manager,
            "operation": if self.operation == Operation::Apply { "Apply" } else { "Update" },
            "apiVersion": &self.api_version,
            "time": &self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.set.to_value(),
        });
        if !self.subresource.is_empty() {
            entry.set_at(&["subresource"], self.subresource.as_str());
        }
        entry
    }
}

impl Managers {
    pub(super) fn read(object: &Object) -> Self {
        let entry = |entry: &Value| {
            let operation = if entry.str("operation") == "Apply" { Operation::Apply } else { Operation::Update };
            let set = entry.get("fieldsV1").map(FieldSet::from_value).unwrap_or_default();
            let manager =
                Manager { name: entry.str("manager"), subresource: entry.str("subresource"), time: entry.str("time") };
            Entry::new(manager, operation, entry.str("apiVersion"), set)
        };
        Self { entries: object.list_at(&["metadata", "managedFields"]).iter().map(entry).collect() }
    }

    /// Puts in what a manager owns now. The time stays if nothing changed.
    pub(super) fn own(&mut self, mut entry: Entry) {
        if let Some(index) = self.entries.iter().position(|old| entry.same_manager(old)) {
            let old = self.entries.remove(index);
            if old.set == entry.set && old.api_version == entry.api_version {
                entry.time = old.time;
            }
        }
        self.entries.push(entry);
    }

    /// Puts the oldest updaters of each version together until few enough are left, so that accounts do not grow for ever.
    pub(super) fn cap(&mut self) {
        self.entries.retain(|entry| !entry.set.is_empty());
        let (mut updaters, mut kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.entries).into_iter().partition(|entry| entry.operation == Operation::Update);
        let mut surplus = updaters.len().saturating_sub(MOST_UPDATERS);
        updaters.sort_by(|a, b| a.time.cmp(&b.time));
        let mut oldest: Vec<Entry> = Vec::new();
        for entry in updaters {
            let bucket = oldest.iter_mut().find(|first| first.api_version == entry.api_version);
            match bucket {
                Some(bucket) if surplus > 0 => {
                    bucket.set = std::mem::take(&mut bucket.set).union(&entry.set);
                    bucket.time = entry.time;
                    ANCIENT.clone_into(&mut bucket.manager);
                    bucket.subresource.clear();
                    surplus -= 1;
                }
                None if surplus > 0 => oldest.push(entry),
                _ => kept.push(entry),
            }
        }
        self.entries = kept;
        self.entries.extend(oldest);
    }

    pub(super) fn write(mut self, object: &mut Object) {
        self.entries.retain(|entry| !entry.set.is_empty());
        self.entries.sort_by(|a, b| (a.operation, &a.time, &a.manager).cmp(&(b.operation, &b.time, &b.manager)));
        if self.entries.is_empty() {
            object.metadata_mut().remove("managedFields");
        } else {
            object.metadata_mut().insert("managedFields", self.entries.iter().map(Entry::to_value).collect::<Value>());
        }
    }
}
