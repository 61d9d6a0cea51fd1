//! The group `discovery.k8s.io`.

mod slice;

use crate::resource::ResourceDescriptor as Row;

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[Row::namespaced(("discovery.k8s.io", "v1"), "EndpointSlice", "endpointslices")
    .strategy(&slice::STRATEGY)
    .columns(slice::COLUMNS)];
