//! The flags of the audit log.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use component_base::flags::boolean;

/// What is audited and where it is written.
#[derive(Args, Clone, Debug, Default)]
pub struct AuditArgs {
    /// A file audit events are appended to; `-` is standard output.
    #[arg(long)]
    pub audit_log_path: Option<PathBuf>,
    /// What is audited.
    #[arg(long)]
    pub audit_policy_file: Option<PathBuf>,
    /// Days old files are kept; 0 keeps them.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxage: u32,
    /// Old files that are kept; 0 keeps all.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxbackup: usize,
    /// Megabytes of a file before a new one is begun; 0 means 100.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxsize: u64,
    /// Old files are compressed.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub audit_log_compress: bool,
    /// Events that may wait to be written; one that comes then is lost.
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub audit_log_batch_buffer_size: usize,
    /// Events that are written together at most. Nothing waits for a batch to fill.
    #[arg(long, default_value_t = 400, value_parser = at_least_one)]
    pub audit_log_batch_max_size: usize,
    /// Events that are too large lose their bodies.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub audit_log_truncate_enabled: bool,
    /// How large an event may be, in bytes, if large ones are cut; one that is too large without bodies is lost.
    #[arg(long, default_value_t = 102_400, value_parser = at_least_one)]
    pub audit_log_truncate_max_event_size: usize,
    /// How events are written; only `batch` is known, as no request may wait for a disk.
    #[arg(long, default_value = "batch", value_parser = ["batch"])]
    pub audit_log_mode: String,
    /// The form of events; only `json` is known.
    #[arg(long, default_value = "json", value_parser = ["json"])]
    pub audit_log_format: String,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a number above 0".to_owned())
}
