//! Server-side apply: who owns which field, and what happens when several want one.
//!
//! Start with [`apply`] and [`update`]; `set.rs` is the set of owned fields, `walk.rs` compares and merges trees by the schema,
//! `managed.rs` reads and writes `metadata.managedFields`.

mod managed;
mod set;
mod walk;

pub use set::FieldSet;

use crate::{
    object::Object,
    schema::{Schema, TypeId},
    status::{Cause, Status},
    value::Value,
};
use managed::{Entry, Managers, Operation};
use walk::Walker;

/// Who changes an object, and when.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    /// The name in `fieldManager`.
    pub name: &'a str,
    /// The subresource written through, or "".
    pub subresource: &'a str,
    /// The time of the change, as the API writes times.
    pub time: &'a str,
}

/// A field that another manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The owner, in upstream's words.
    pub manager: String,
    /// The field, such as `.spec.replicas`.
    pub field: String,
}

/// An apply that was not done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// Other managers own fields the configuration would change.
    #[error("{}", conflict_message(.0))]
    Conflicts(Vec<Conflict>),
    /// The configuration has `metadata.managedFields`.
    #[error("metadata.managedFields must be nil")]
    ManagedFieldsSet,
    /// Items of a list cannot be told apart.
    #[error("{0}")]
    Malformed(String),
}

impl ApplyError {
    /// The answer of the API.
    pub fn to_status(&self) -> Status {
        match self {
            Self::Conflicts(conflicts) => {
                let cause = |conflict: &Conflict| Cause {
                    reason: "FieldManagerConflict".into(),
                    message: format!("conflict with {}", conflict.manager),
                    field: conflict.field.clone(),
                };
                Status::apply_conflict(self.to_string(), conflicts.iter().map(cause).collect())
            }
            other => Status::bad_request(other.to_string()),
        }
    }
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", only.manager, only.field);
    }
    let mut lines = Vec::new();
    let mut last = None;
    for conflict in conflicts {
        if last.replace(&conflict.manager) != Some(&conflict.manager) {
            lines.push(format!("conflicts with {}:", conflict.manager));
        }
        lines.push(format!("- {}", conflict.field));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

/// Applies a configuration. Without a live object it is the object. Forcing takes fields away from their owners.
///
/// The configuration must have been read verbatim. The result still has to be defaulted and validated.
pub fn apply(
    live: Option<&Object>,
    config: &Object,
    manager: Manager<'_>,
    force: bool,
    (schema, of): (&Schema, TypeId),
) -> Result<Object, ApplyError> {
    if config.metadata().contains_key("managedFields") {
        return Err(ApplyError::ManagedFieldsSet);
    }
    let walker = Walker { schema };
    let empty = Object::new(config.api_version(), config.kind());
    let old = live.unwrap_or(&empty);
    let mut managers = Managers::read(old);
    if live.is_some() && managers.entries.is_empty() {
        // Whoever made the object before anybody applied keeps what is there.
        let first = Manager { name: "before-first-apply", subresource: "", time: manager.time };
        let set = walker.fields(old, of).map_err(ApplyError::Malformed)?.without_identity();
        managers.entries.push(Entry::new(first, Operation::Update, old.api_version(), set));
    }
    let wanted = walker.fields(config, of).map_err(ApplyError::Malformed)?.without_identity();
    let own = |entry: &Entry| {
        entry.operation == Operation::Apply && entry.manager == manager.name && entry.subresource == manager.subresource
    };
    let mut merged = walker.merge(old, config, of).map_err(ApplyError::Malformed)?;
    if let Some(last) = managers.entries.iter().find(|entry| own(entry)) {
        let others = managers.entries.iter().filter(|entry| !own(entry));
        let kept = others.fold(wanted.clone(), |kept, other| kept.union(&other.set));
        walker.prune(&mut merged, of, &last.set, &kept);
    }
    let changes = walker.compare(old, &merged, of).map_err(ApplyError::Malformed)?;
    let taken = changes.added.union(&changes.modified);
    let mut conflicts = Vec::new();
    for entry in managers.entries.iter_mut().filter(|entry| !own(entry)) {
        let lost = entry.set.intersection(&taken);
        if !lost.is_empty() && !force {
            let shown = entry.shown();
            conflicts.extend(lost.paths().into_iter().map(|field| Conflict { manager: shown.clone(), field }));
        }
        entry.set = std::mem::take(&mut entry.set).difference(&lost).difference(&changes.removed);
    }
    if !conflicts.is_empty() {
        return Err(ApplyError::Conflicts(conflicts));
    }
    managers.own(Entry::new(manager, Operation::Apply, config.api_version(), wanted));
    managers.write(&mut merged);
    Ok(merged)
}

/// Keeps account of any other write: the manager owns what it changed, and others lose it.
pub fn update(live: Option<&Object>, mut new: Object, manager: Manager<'_>, (schema, of): (&Schema, TypeId)) -> Object {
    let walker = Walker { schema };
    let empty = Object::new(new.api_version(), new.kind());
    let old = live.unwrap_or(&empty);
    // A writer may drop all accounts by writing a single empty one, and else may not touch them.
    let written = new.metadata().get("managedFields").and_then(Value::as_list);
    let reset = matches!(written, Some([Value::Map(only)]) if only.is_empty());
    let mut managers = if reset { Managers::default() } else { Managers::read(live.unwrap_or(&new)) };
    let Ok(changes) = walker.compare(old, &new, of) else {
        return new;
    };
    let touched = changes.added.union(&changes.modified).without_identity();
    let own = |entry: &Entry| {
        entry.operation == Operation::Update
            && entry.manager == manager.name
            && entry.subresource == manager.subresource
            && entry.api_version == new.api_version()
    };
    let mut mine = FieldSet::default();
    for entry in &mut managers.entries {
        if own(entry) {
            mine = entry.set.clone();
        } else {
            entry.set = std::mem::take(&mut entry.set).difference(&touched).difference(&changes.removed);
        }
    }
    let mine = mine.union(&touched).difference(&changes.removed);
    if !reset {
        managers.own(Entry::new(manager, Operation::Update, new.api_version(), mine));
        managers.cap();
    }
    managers.write(&mut new);
    new
}

#[cfg(test)]
mod tests;
