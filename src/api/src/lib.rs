//! The built-in kinds of the Kubernetes API as data: one row of [`resource::ResourceDescriptor`] per kind,
//! with its defaults, checks and printed columns as plain functions, and the schema of all their fields.
//!
//! This crate does no input or output, knows no clock and holds no state.
//! Start with `groups.rs`, the list of groups; a row there leads to everything about a kind.

use std::sync::LazyLock;

mod check;
mod column;
mod fill;
mod groups;
mod pod_spec;
mod print;
pub mod quota;
pub mod resource;
mod schema;
mod status;

pub use resource::{Action, Column, ResourceDescriptor, Scope, Served, Strategy, Subresource};
pub use schema::schema;

static RESOURCES: LazyLock<Vec<ResourceDescriptor>> =
    LazyLock::new(|| groups::GROUPS.iter().flat_map(|rows| rows.iter().copied()).collect());

/// All kinds, group by group in the order of discovery.
pub fn resources() -> &'static [ResourceDescriptor] {
    &RESOURCES
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_path_and_no_etcd_folder_is_used_twice() {
        let mut paths = HashSet::new();
        let mut folders = HashSet::new();
        for row in resources() {
            assert!(paths.insert((row.group, row.version, row.plural)), "{}", row.plural);
            assert!(!row.is_stored() || folders.insert(row.storage_prefix), "{}", row.plural);
            for served in row.also_served {
                assert!(paths.insert((served.group, served.version, row.plural)), "{}", row.plural);
            }
        }
    }

    #[test]
    fn the_stored_folders_are_those_of_upstream() {
        for (plural, folder) in [
            ("nodes", "minions"),
            ("services", "services/specs"),
            ("endpoints", "services/endpoints"),
            ("replicationcontrollers", "controllers"),
            ("ingresses", "ingress"),
            ("deployments", "deployments"),
        ] {
            let row = resources().iter().find(|row| row.plural == plural).unwrap();
            assert_eq!(row.storage_prefix, folder);
        }
    }
}
