//! The group `flowcontrol.apiserver.k8s.io`: fairness between clients.

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("flowcontrol.apiserver.k8s.io", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::cluster(V1, "FlowSchema", "flowschemas").with_status(),
    Row::cluster(
        V1,
        "PriorityLevelConfiguration",
        "prioritylevelconfigurations",
    )
    .with_status(),
];
