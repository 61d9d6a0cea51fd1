//! The flags of the data store.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use component_base::flags::duration;

/// The data store.
#[derive(Args, Clone, Debug)]
pub struct EtcdArgs {
    /// Client URLs of etcd.
    #[arg(long, value_delimiter = ',', required = true)]
    pub etcd_servers: Vec<String>,
    /// The CA of etcd's certificates.
    #[arg(long)]
    pub etcd_cafile: Option<PathBuf>,
    /// The certificate etcd knows this server by.
    #[arg(long)]
    pub etcd_certfile: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    pub etcd_keyfile: Option<PathBuf>,
    /// The folder of all keys.
    #[arg(long, default_value = "/registry")]
    pub etcd_prefix: String,
    /// How often old revisions are compacted; 0 leaves it to etcd.
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub etcd_compaction_interval: Duration,
    /// How long Events are kept.
    #[arg(long, default_value = "1h", value_parser = duration)]
    pub event_ttl: Duration,
    /// Where Secrets are encrypted and with which keys.
    #[arg(long)]
    pub encryption_provider_config: Option<PathBuf>,
}
