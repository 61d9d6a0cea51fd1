//! The group `discovery.k8s.io`.

use crate::resource::ResourceDescriptor as Row;

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[Row::namespaced(
    ("discovery.k8s.io", "v1"),
    "EndpointSlice",
    "endpointslices",
)];
