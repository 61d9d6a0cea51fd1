//! The group `policy`.

use crate::resource::ResourceDescriptor as Row;

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[Row::namespaced(
    ("policy", "v1"),
    "PodDisruptionBudget",
    "poddisruptionbudgets",
)
.short(&["pdb"])
.with_status()];
