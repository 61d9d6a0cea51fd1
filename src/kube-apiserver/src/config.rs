//! The flags of kube-apiserver, as upstream names them, and the checked configuration made of them.

mod audit;
mod oidc;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args as ClapArgs, Parser};
use component_base::flags::{boolean, duration};
use component_base::logging::LoggingArgs;
use ipnet::IpNet;

pub use audit::AuditArgs;
pub use oidc::OidcArgs;

/// Serves the Kubernetes API.
#[derive(Parser, Clone, Debug)]
#[command(name = "kube-apiserver", disable_version_flag = true)]
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
    /// Log lines: how many and in which form.
    #[command(flatten)]
    pub logging: LoggingArgs,
}

/// Where and how the API is served.
#[derive(ClapArgs, Clone, Debug)]
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

/// The data store.
#[derive(ClapArgs, Clone, Debug)]
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

/// Who may come in and what they may do.
#[derive(ClapArgs, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct AccessArgs {
    /// Requests without credentials are let through as system:anonymous.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub anonymous_auth: bool,
    /// Issuers and conditions of anonymous access, in a file instead of flags.
    #[arg(long, conflicts_with_all = ["oidc_issuer_url", "oidc_client_id"])]
    pub authentication_config: Option<PathBuf>,
    /// An `OpenID` Connect issuer.
    #[command(flatten)]
    pub oidc: OidcArgs,
    /// The CA of client certificates.
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    /// A CSV file of static bearer tokens.
    #[arg(long)]
    pub token_auth_file: Option<PathBuf>,
    /// Bootstrap token Secrets are accepted as bearer tokens.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub enable_bootstrap_token_auth: bool,
    /// The ordered list of authorizers.
    #[arg(long, value_delimiter = ',', default_value = "AlwaysAllow")]
    pub authorization_mode: Vec<String>,
    /// Admission plugins beside the default ones.
    #[arg(long, value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    /// Default admission plugins to leave out.
    #[arg(long, value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    /// A file with the settings of admission plugins.
    #[arg(long)]
    pub admission_control_config_file: Option<PathBuf>,
    /// Containers may be privileged.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub allow_privileged: bool,
    /// Names a proxy's client certificate may carry.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    /// The CA of proxies' client certificates.
    #[arg(long)]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Prefixes of headers with extra facts about the user.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// Headers with the user's groups.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_group_headers: Vec<String>,
    /// Headers with the user's uid.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers with the user's name.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_username_headers: Vec<String>,
    /// The certificate this server shows to API servers behind it.
    #[arg(long)]
    pub proxy_client_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    pub proxy_client_key_file: Option<PathBuf>,
    /// Issuers of accepted service account tokens; the first one is put into new tokens.
    #[arg(long, required = true)]
    pub service_account_issuer: Vec<String>,
    /// Public (or private) keys of accepted service account tokens.
    #[arg(long)]
    pub service_account_key_file: Vec<PathBuf>,
    /// The private key of new service account tokens.
    #[arg(long)]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Where the public keys can be fetched, if not at this server.
    #[arg(long)]
    pub service_account_jwks_uri: Option<String>,
    /// Audiences of accepted tokens; the issuer if none is given.
    #[arg(long, value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    /// The longest life of a requested token.
    #[arg(long, value_parser = duration)]
    pub service_account_max_token_expiration: Option<Duration>,
    /// Long-lived tokens for pods that were made for an hour.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub service_account_extend_token_expiration: bool,
}

/// How kubelets are reached.
#[derive(ClapArgs, Clone, Debug)]
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
}

/// Addresses and ports of Services.
#[derive(ClapArgs, Clone, Debug)]
pub struct ServiceArgs {
    /// The networks cluster IPs come from, at most one of each family.
    #[arg(long, value_delimiter = ',', default_value = "10.0.0.0/24")]
    pub service_cluster_ip_range: Vec<IpNet>,
    /// The ports node ports come from.
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    pub service_node_port_range: PortRange,
    /// How the endpoints of the `kubernetes` Service are kept.
    #[arg(long, default_value = "lease")]
    pub endpoint_reconciler_type: String,
}

/// What protects the server from too much work.
#[derive(ClapArgs, Clone, Debug)]
pub struct LimitArgs {
    /// Requests take turns by flow schemas and priority levels.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub enable_priority_and_fairness: bool,
    /// Reads in flight.
    #[arg(long, default_value_t = 400)]
    pub max_requests_inflight: usize,
    /// Writes in flight.
    #[arg(long, default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
    /// How long an ordinary request may take.
    #[arg(long, default_value = "1m", value_parser = duration)]
    pub request_timeout: Duration,
    /// The shortest life of a watch, in seconds, unless the client asks for less.
    #[arg(long, default_value_t = 1800)]
    pub min_request_timeout: u64,
    /// The chance that a request of HTTP/2 has its client open a new connection: 0 to 0.02.
    #[arg(long, default_value = "0", value_parser = chance)]
    pub goaway_chance: f64,
    /// How long `/livez` overlooks a start that is not finished; 0 for ever.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub livez_grace_period: Duration,
    /// Taints a pod tolerates this long unless it says otherwise.
    #[arg(long, default_value_t = 300)]
    pub default_not_ready_toleration_seconds: i64,
    /// The same for unreachable nodes.
    #[arg(long, default_value_t = 300)]
    pub default_unreachable_toleration_seconds: i64,
    /// Profiling endpoints; there are none to switch on.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub profiling: bool,
    /// Feature gates; none can be switched, so naming one is refused.
    #[arg(long, value_delimiter = ',')]
    pub feature_gates: Vec<String>,
    /// API versions switched on; all built-in versions are, so switching one off is refused.
    #[arg(long, value_delimiter = ',')]
    pub runtime_config: Vec<String>,
}

/// An inclusive range of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange(pub RangeInclusive<u16>);

/// Most clients shall stay where they are.
fn chance(text: &str) -> Result<f64, String> {
    let chance: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.0..=0.02).contains(&chance) { Ok(chance) } else { Err("must be between 0 and 0.02".to_owned()) }
}

fn port_range(text: &str) -> Result<PortRange, String> {
    let wrong = || "expected a range of ports such as 30000-32767".to_owned();
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (first, last) = if let Some((first, last)) = text.split_once('-') {
        (number(first)?, number(last)?)
    } else {
        let (base, size) = text.split_once('+').ok_or_else(wrong)?;
        let base = number(base)?;
        (base, base.checked_add(number(size)?).ok_or_else(wrong)?)
    };
    if first == 0 || first > last { Err(wrong()) } else { Ok(PortRange(first..=last)) }
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
    /// The service network has no room.
    #[error("--service-cluster-ip-range: {0} is too small or too large (use /12 to /28)")]
    ServiceRange(IpNet),
}

/// What `--authorization-mode` may name.
const AUTHORIZATION_MODES: &[&str] = &["AlwaysAllow", "AlwaysDeny", "Node", "RBAC"];

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let Args { serving, etcd, access, kubelet, service, limits, audit, logging: _ } = args;
        if etcd.etcd_certfile.is_some() != etcd.etcd_keyfile.is_some() {
            return Err(ConfigError::Needs("--etcd-certfile", "--etcd-keyfile"));
        }
        if kubelet.kubelet_client_certificate.is_some() != kubelet.kubelet_client_key.is_some() {
            return Err(ConfigError::Needs("--kubelet-client-certificate", "--kubelet-client-key"));
        }
        if access.service_account_signing_key_file.is_some() && access.service_account_key_file.is_empty() {
            return Err(ConfigError::Needs("--service-account-signing-key-file", "--service-account-key-file"));
        }
        refuse_what_has_no_effect(&limits)?;
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
        })
    }
}

/// A flag that would do nothing is worse than one that is refused.
fn refuse_what_has_no_effect(limits: &LimitArgs) -> Result<(), ConfigError> {
    let unsupported = |flag, value: &str| Err(ConfigError::Unsupported { flag, value: value.to_owned() });
    if limits.profiling {
        return unsupported("--profiling", "true");
    }
    if let Some(gate) = limits.feature_gates.first() {
        return unsupported("--feature-gates", gate);
    }
    // All built-in versions are served, always.
    let switched_off = |entry: &&String| entry.ends_with("=false") || !entry.contains('=');
    match limits.runtime_config.iter().find(switched_off) {
        Some(entry) => unsupported("--runtime-config", entry),
        None => Ok(()),
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
