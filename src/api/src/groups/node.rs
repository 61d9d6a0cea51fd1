//! The group `node.k8s.io`.

use crate::resource::ResourceDescriptor as Row;

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[Row::cluster(
    ("node.k8s.io", "v1"),
    "RuntimeClass",
    "runtimeclasses",
)];
