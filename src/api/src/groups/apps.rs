//! The group `apps`: workloads.

use crate::resource::{ResourceDescriptor as Row, Subresource as Sub};

const V1: (&str, &str) = ("apps", "v1");
const SCALE_AND_STATUS: &[Sub] = &[Sub::SCALE, Sub::STATUS];

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::namespaced(V1, "ControllerRevision", "controllerrevisions"),
    Row::namespaced(V1, "DaemonSet", "daemonsets")
        .short(&["ds"])
        .in_all()
        .with_status(),
    Row::namespaced(V1, "Deployment", "deployments")
        .short(&["deploy"])
        .in_all()
        .with(SCALE_AND_STATUS),
    Row::namespaced(V1, "ReplicaSet", "replicasets")
        .short(&["rs"])
        .in_all()
        .selectable(&["status.replicas"])
        .with(SCALE_AND_STATUS),
    Row::namespaced(V1, "StatefulSet", "statefulsets")
        .short(&["sts"])
        .in_all()
        .with(SCALE_AND_STATUS),
];
