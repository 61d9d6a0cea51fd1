//! The flags of kube-apiserver, as upstream names them, and the checked configuration made of them.

mod access;
mod audit;
mod data_store;
mod kubelet;
mod limits;
mod oidc;
mod service;
mod serving;
pub mod upstream;

use std::net::{IpAddr, SocketAddr};

use clap::Parser;
use component_base::logging::LoggingArgs;
use ipnet::IpNet;

pub use access::AccessArgs;
pub use audit::AuditArgs;
pub use data_store::EtcdArgs;
pub use kubelet::KubeletArgs;
pub use limits::LimitArgs;
pub use oidc::OidcArgs;
pub use service::{PortRange, ServiceArgs};
pub use serving::ServingArgs;
use upstream::{Idle, UpstreamArgs};

/// Serves the Kubernetes API.
#[derive(Parser, Clone, Debug)]
#[command(name = "kube-apiserver", disable_version_flag = true, args_override_self = true)]
pub struct Args {
    #[command(flatten)]
    serving: ServingArgs,
    #[command(flatten)]
    etcd: EtcdArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    kubelet: KubeletArgs,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    audit: AuditArgs,
    #[command(flatten)]
    upstream: UpstreamArgs,
    /// Log lines: how many and in which form.
    #[command(flatten)]
    pub logging: LoggingArgs,
}

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The address members of the cluster reach this server at.
    pub advertise_address: IpAddr,
    /// The port the `kubernetes` Service leads to.
    pub advertise_port: u16,
    /// Serving.
    pub serving: ServingArgs,
    /// The data store.
    pub etcd: EtcdArgs,
    /// Authentication and authorization.
    pub access: AccessArgs,
    /// Kubelets.
    pub kubelet: KubeletArgs,
    /// Services.
    pub service: ServiceArgs,
    /// Limits.
    pub limits: LimitArgs,
    /// The audit log.
    pub audit: AuditArgs,
    /// Flags that were given and have no effect.
    pub idle: Vec<Idle>,
}

/// Why a set of flags cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// No address of this machine can be advertised.
    #[error("--advertise-address is needed: no address of this machine leads outside")]
    NoAdvertiseAddress,
    /// A flag needs another one.
    #[error("{0} needs {1}")]
    Needs(&'static str, &'static str),
    /// A flag has a value that is not known.
    #[error("{flag}: {value:?} is not supported")]
    Unsupported {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
    },
    /// A flag of upstream that this server has no use for.
    #[error("--{flag}={value} cannot be used: {why}")]
    Refused {
        /// The flag, without dashes.
        flag: &'static str,
        /// Its value.
        value: String,
        /// Why, and what to do instead.
        why: &'static str,
    },
    /// The service network has no room.
    #[error("--service-cluster-ip-range: {0} is too small or too large (use /12 to /28)")]
    ServiceRange(IpNet),
}

/// What `--authorization-mode` may name.
const AUTHORIZATION_MODES: &[&str] = &["AlwaysAllow", "AlwaysDeny", "Node", "RBAC"];

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let Args { serving, etcd, access, kubelet, service, limits, audit, upstream, logging: _ } = args;
        let idle = upstream.idle()?;
        if etcd.etcd_certfile.is_some() != etcd.etcd_keyfile.is_some() {
            return Err(ConfigError::Needs("--etcd-certfile", "--etcd-keyfile"));
        }
        if kubelet.kubelet_client_certificate.is_some() != kubelet.kubelet_client_key.is_some() {
            return Err(ConfigError::Needs("--kubelet-client-certificate", "--kubelet-client-key"));
        }
        if access.service_account_signing_key_file.is_some() && access.service_account_key_file.is_empty() {
            return Err(ConfigError::Needs("--service-account-signing-key-file", "--service-account-key-file"));
        }
        refuse_fewer_versions(&limits.runtime_config)?;
        for mode in &access.authorization_mode {
            if !AUTHORIZATION_MODES.contains(&mode.as_str()) {
                return Err(ConfigError::Unsupported { flag: "--authorization-mode", value: mode.clone() });
            }
        }
        if !["lease", "none"].contains(&service.endpoint_reconciler_type.as_str()) {
            let value = service.endpoint_reconciler_type.clone();
            return Err(ConfigError::Unsupported { flag: "--endpoint-reconciler-type", value });
        }
        for range in &service.service_cluster_ip_range {
            let host_bits = range.max_prefix_len() - range.prefix_len();
            if !(3..=20).contains(&host_bits) {
                return Err(ConfigError::ServiceRange(*range));
            }
        }
        let advertise_address = match serving.advertise_address {
            Some(address) => address,
            None if !serving.bind_address.is_unspecified() => serving.bind_address,
            None => outward_address().ok_or(ConfigError::NoAdvertiseAddress)?,
        };
        Ok(Self {
            listen: SocketAddr::new(serving.bind_address, serving.secure_port),
            advertise_address,
            advertise_port: serving.secure_port,
            serving,
            etcd,
            access,
            kubelet,
            service,
            limits,
            audit,
            idle,
        })
    }
}

/// All built-in versions are served, always.
fn refuse_fewer_versions(entries: &[String]) -> Result<(), ConfigError> {
    let switched_off = |entry: &&String| entry.ends_with("=false") || !entry.contains('=');
    match entries.iter().find(switched_off) {
        Some(entry) => Err(ConfigError::Unsupported { flag: "--runtime-config", value: entry.clone() }),
        None => Ok(()),
    }
}

impl Config {
    /// Tells of flags that were given and have no effect.
    pub fn tell_of_idle_flags(&self) {
        for Idle { flag, value, why } in &self.idle {
            tracing::warn!(value, "--{flag} has no effect: {why}");
        }
    }
}

/// The address this machine would use to talk to the outside; nothing is sent.
fn outward_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests;
