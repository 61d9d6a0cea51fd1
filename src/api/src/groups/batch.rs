//! The group `batch`: jobs.

mod job;
mod schedule;

use crate::resource::ResourceDescriptor as Row;

const V1: (&str, &str) = ("batch", "v1");

/// The kinds of the group.
pub(crate) const ROWS: &[Row] = &[
    Row::namespaced(V1, "CronJob", "cronjobs")
        .short(&["cj"])
        .strategy(&job::CRON_JOB)
        .columns(job::CRON_JOB_COLUMNS)
        .in_all()
        .with_status(),
    Row::namespaced(V1, "Job", "jobs")
        .in_all()
        .strategy(&job::JOB)
        .columns(job::JOB_COLUMNS)
        .selectable(&["status.successful"])
        .with_status(),
];

#[cfg(test)]
mod tests;
