//! The list of API groups, in the order discovery shows them. A new group is one file and one line here.

use crate::resource::ResourceDescriptor;

mod admissionregistration;
mod apiextensions;
mod apiregistration;
mod apps;
mod authentication;
mod authorization;
mod autoscaling;
mod batch;
mod certificates;
mod coordination;
mod core;
mod discovery;
mod events;
mod flowcontrol;
mod networking;
mod node;
mod policy;
mod rbac;
mod resource;
mod scheduling;
mod storage;

pub(crate) use core::check_claim;

/// The rows of each group.
pub(crate) const GROUPS: &[&[ResourceDescriptor]] = &[
    core::ROWS,
    apiregistration::ROWS,
    apps::ROWS,
    events::ROWS,
    authentication::ROWS,
    authorization::ROWS,
    autoscaling::ROWS,
    batch::ROWS,
    certificates::ROWS,
    networking::ROWS,
    policy::ROWS,
    rbac::ROWS,
    storage::ROWS,
    admissionregistration::ROWS,
    apiextensions::ROWS,
    scheduling::ROWS,
    coordination::ROWS,
    node::ROWS,
    discovery::ROWS,
    resource::ROWS,
    flowcontrol::ROWS,
];

#[cfg(test)]
mod tests;
