//! The group `coordination.k8s.io`.

use crate::resource::ResourceDescriptor as Row;

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[Row::namespaced(
    ("coordination.k8s.io", "v1"),
    "Lease",
    "leases",
)];
