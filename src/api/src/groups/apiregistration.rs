//! The group `apiregistration.k8s.io`: API servers behind this one.

use crate::resource::ResourceDescriptor as Row;

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[Row::cluster(
    ("apiregistration.k8s.io", "v1"),
    "APIService",
    "apiservices",
)
.categories(&["api-extensions"])
.stored_in("apiregistration.k8s.io/apiservices")
.selectable(&["spec.group", "spec.version"])
.with_status()];
