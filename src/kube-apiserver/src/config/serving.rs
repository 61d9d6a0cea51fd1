//! The flags of serving the API.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use component_base::flags::duration;

/// Where and how the API is served.
#[derive(Args, Clone, Debug)]
pub struct ServingArgs {
    /// The address members of the cluster reach this server at.
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// The address to listen on.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port to listen on.
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// The server's certificate.
    #[arg(long)]
    pub tls_cert_file: PathBuf,
    /// The server's key.
    #[arg(long)]
    pub tls_private_key_file: PathBuf,
    /// How long `/readyz` fails before the server stops to listen.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub shutdown_delay_duration: Duration,
}
