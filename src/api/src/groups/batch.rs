//! The group `batch`: jobs.

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("batch", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::namespaced(V1, "CronJob", "cronjobs")
        .short(&["cj"])
        .in_all()
        .with_status(),
    Row::namespaced(V1, "Job", "jobs")
        .in_all()
        .selectable(&["status.successful"])
        .with_status(),
];
