//! The flags of the way to kubelets.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use component_base::flags::duration;

/// How kubelets are reached.
#[derive(Args, Clone, Debug)]
pub struct KubeletArgs {
    /// The certificate kubelets know this server by.
    #[arg(long)]
    pub kubelet_client_certificate: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    pub kubelet_client_key: Option<PathBuf>,
    /// The CA of kubelets' serving certificates; unverified if absent, as upstream.
    #[arg(long)]
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// Types of node addresses in order of preference.
    #[arg(long, value_delimiter = ',', default_value = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP")]
    pub kubelet_preferred_address_types: Vec<String>,
    /// How long a connection to a kubelet may take to be made; 0 is 30 s. What a kubelet then sends may last.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub kubelet_timeout: Duration,
}
