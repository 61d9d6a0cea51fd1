//! The group `scheduling.k8s.io`.

use crate::resource::ResourceDescriptor as Row;

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[Row::cluster(
    ("scheduling.k8s.io", "v1"),
    "PriorityClass",
    "priorityclasses",
)
.short(&["pc"])];
