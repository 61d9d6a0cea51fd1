//! The group `flowcontrol.apiserver.k8s.io`: fairness between clients.

mod fairness;

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("flowcontrol.apiserver.k8s.io", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::cluster(V1, "FlowSchema", "flowschemas")
        .strategy(&fairness::FLOW)
        .columns(fairness::FLOW_COLUMNS)
        .with_status(),
    Row::cluster(V1, "PriorityLevelConfiguration", "prioritylevelconfigurations")
        .strategy(&fairness::LEVEL)
        .columns(fairness::LEVEL_COLUMNS)
        .with_status(),
];
