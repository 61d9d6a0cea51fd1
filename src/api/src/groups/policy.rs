//! The group `policy`.

mod budget;

use crate::resource::ResourceDescriptor as Row;

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[Row::namespaced(("policy", "v1"), "PodDisruptionBudget", "poddisruptionbudgets")
    .short(&["pdb"])
    .strategy(&budget::STRATEGY)
    .columns(budget::COLUMNS)
    .with_status()];
