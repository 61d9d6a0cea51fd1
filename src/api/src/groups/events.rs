//! The group `events.k8s.io`: another view of the core Events.

use apimachinery::object::Object;

use crate::resource::{ResourceDescriptor as Row, Served};

/// Core Events hold what is stored; this group has no rows of its own.
pub(crate) const ROWS: &[Row] = &[];

/// How core Events are served in this group.
pub(crate) const SERVED: &[Served] = &[Served {
    group: "events.k8s.io",
    version: "v1",
    from_stored: |event| rename(event, CORE_TO_EVENTS),
    to_stored: |event| rename_back(event, CORE_TO_EVENTS),
    selectable_fields: &[
        ("regarding.kind", "involvedObject.kind"),
        ("regarding.namespace", "involvedObject.namespace"),
        ("regarding.name", "involvedObject.name"),
        ("regarding.uid", "involvedObject.uid"),
        ("regarding.apiVersion", "involvedObject.apiVersion"),
        ("regarding.resourceVersion", "involvedObject.resourceVersion"),
        ("regarding.fieldPath", "involvedObject.fieldPath"),
        ("reason", "reason"),
        ("reportingController", "reportingComponent"),
        ("type", "type"),
    ],
}];

/// Fields that differ only in their name: core, then `events.k8s.io`.
const CORE_TO_EVENTS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(event: &mut Object, names: &[(&str, &str)]) {
    for (core, events) in names {
        if let Some(value) = event.remove_at(&[core]) {
            event.set_at(&[events], value);
        }
    }
}

fn rename_back(event: &mut Object, names: &[(&str, &str)]) {
    for (core, events) in names {
        if let Some(value) = event.remove_at(&[events]) {
            event.set_at(&[core], value);
        }
    }
}
