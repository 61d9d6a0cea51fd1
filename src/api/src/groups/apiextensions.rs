//! The group `apiextensions.k8s.io`: kinds made by users.

use crate::resource::ResourceDescriptor as Row;

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[Row::cluster(
    ("apiextensions.k8s.io", "v1"),
    "CustomResourceDefinition",
    "customresourcedefinitions",
)
.short(&["crd", "crds"])
.categories(&["api-extensions"])
.stored_in("apiextensions.k8s.io/customresourcedefinitions")
.with_status()];
