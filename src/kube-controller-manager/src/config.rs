//! Flags, and what they mean once checked.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser};
use component_base::flags::{boolean, duration};
use component_base::logging::LoggingArgs;
use component_base::tls::TlsFiles;
use controller_runtime::LeaseTimes;
use ipnet::IpNet;

/// The flags of `kube-controller-manager`, named as upstream's.
#[derive(Debug, Parser)]
#[command(name = "kube-controller-manager", disable_version_flag = true, args_override_self = true)]
#[expect(clippy::struct_excessive_bools, reason = "they are upstream's flags")]
pub(crate) struct Args {
    /// How to reach the API server.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Accepted as upstream's; requests to this server need no authentication but for `/metrics`, by client certificate.
    #[arg(long)]
    authentication_kubeconfig: Option<PathBuf>,
    /// Accepted as upstream's.
    #[arg(long)]
    authorization_kubeconfig: Option<PathBuf>,
    /// Address the secure port listens on.
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: IpAddr,
    /// Secure port.
    #[arg(long, default_value_t = 10257)]
    secure_port: u16,
    /// Certificate of the secure port; made for this run if absent.
    #[arg(long)]
    tls_cert_file: Option<PathBuf>,
    /// Key of the certificate.
    #[arg(long)]
    tls_private_key_file: Option<PathBuf>,
    /// Authorities of client certificates.
    #[arg(long)]
    client_ca_file: Option<PathBuf>,
    /// Accepted as upstream's.
    #[arg(long)]
    requestheader_client_ca_file: Option<PathBuf>,
    /// Ranges pods get addresses from.
    #[arg(long, value_delimiter = ',')]
    cluster_cidr: Vec<IpNet>,
    /// Ranges services get addresses from.
    #[arg(long, value_delimiter = ',')]
    service_cluster_ip_range: Vec<IpNet>,
    /// Whether to give each node a part of the cluster's range.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    allocate_node_cidrs: bool,
    /// Size of a node's part (IPv4).
    #[arg(long, default_value_t = 0)]
    node_cidr_mask_size: u8,
    /// Size of a node's part (IPv4); as `--node-cidr-mask-size`.
    #[arg(long, default_value_t = 0)]
    node_cidr_mask_size_ipv4: u8,
    /// Size of a node's part (IPv6).
    #[arg(long, default_value_t = 64)]
    node_cidr_mask_size_ipv6: u8,
    /// Name of the cluster.
    #[arg(long, default_value = "kubernetes")]
    cluster_name: String,
    /// Authority that signs certificate requests.
    #[arg(long)]
    cluster_signing_cert_file: Option<PathBuf>,
    /// Key of the authority.
    #[arg(long)]
    cluster_signing_key_file: Option<PathBuf>,
    /// The longest life of a signed certificate.
    #[arg(long, default_value = "8760h", value_parser = duration)]
    cluster_signing_duration: Duration,
    /// Controllers to run: `*` all that run by default, `name` this one, `-name` not this one.
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    controllers: Vec<String>,
    /// Whether to wait for leadership before acting.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    leader_elect: bool,
    /// After this long without a renewal others may lead.
    #[arg(long, default_value = "15s", value_parser = duration)]
    leader_elect_lease_duration: Duration,
    /// A leader that could not renew for this long stops.
    #[arg(long, default_value = "10s", value_parser = duration)]
    leader_elect_renew_deadline: Duration,
    /// Between two tries to lead.
    #[arg(long, default_value = "2s", value_parser = duration)]
    leader_elect_retry_period: Duration,
    /// Name of the lease.
    #[arg(long, default_value = "kube-controller-manager")]
    leader_elect_resource_name: String,
    /// Namespace of the lease.
    #[arg(long, default_value = "kube-system")]
    leader_elect_resource_namespace: String,
    /// Authority every pod is given to trust the API server by.
    #[arg(long)]
    root_ca_file: Option<PathBuf>,
    /// Accepted as upstream's; tokens are made by the API server.
    #[arg(long)]
    service_account_private_key_file: Option<PathBuf>,
    /// Whether each controller acts with a service account of its own.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    use_service_account_credentials: bool,
    /// How long a node may be silent before it counts as unknown.
    #[arg(long, default_value = "50s", value_parser = duration)]
    node_monitor_grace_period: Duration,
    /// Ended pods kept before the oldest are removed.
    #[arg(long, default_value_t = 12500)]
    terminated_pod_gc_threshold: usize,
    /// Accepted as upstream's: this program holds no profiler.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    profiling: bool,
    #[command(flatten)]
    pub(crate) logging: LoggingArgs,
}

/// What the program runs with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) node_ranges: Vec<NodeRange>,
    pub(crate) signing: Option<Signing>,
    pub(crate) controllers: Vec<String>,
    pub(crate) election: Option<Election>,
    pub(crate) root_ca: Option<String>,
    pub(crate) own_accounts: bool,
    pub(crate) node_grace: Duration,
    pub(crate) ended_pods: usize,
}

/// A range of pod addresses and the size of the part a node gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeRange {
    pub(crate) range: IpNet,
    pub(crate) node_prefix: u8,
}

/// The authority for certificate requests.
#[derive(Clone, Debug)]
pub(crate) struct Signing {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) lifetime: Duration,
}

/// How to become leader.
#[derive(Clone, Debug)]
pub(crate) struct Election {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) times: LeaseTimes,
}

/// Flags that do not go together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("--{0} and --{1} only make sense together")]
    Pair(&'static str, &'static str),
    #[error("--allocate-node-cidrs needs --cluster-cidr")]
    NoRange,
    #[error("a node's part /{node} does not fit into --cluster-cidr {range}")]
    NodePrefix { range: IpNet, node: u8 },
    #[error(
        "--leader-elect-lease-duration must be greater than --leader-elect-renew-deadline, and that greater than --leader-elect-retry-period"
    )]
    LeaseTimes,
    #[error("cannot read --root-ca-file {path}", path = path.display())]
    RootCa {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let tls = pair((args.tls_cert_file, "tls-cert-file"), (args.tls_private_key_file, "tls-private-key-file"))?;
        let signing = pair(
            (args.cluster_signing_cert_file, "cluster-signing-cert-file"),
            (args.cluster_signing_key_file, "cluster-signing-key-file"),
        )?;
        let v4 = [args.node_cidr_mask_size_ipv4, args.node_cidr_mask_size, 24]
            .into_iter()
            .find(|size| *size > 0)
            .unwrap_or(24);
        let node_ranges = if args.allocate_node_cidrs {
            node_ranges(&args.cluster_cidr, v4, args.node_cidr_mask_size_ipv6)?
        } else {
            Vec::new()
        };
        let times = LeaseTimes {
            lease_duration: args.leader_elect_lease_duration,
            renew_deadline: args.leader_elect_renew_deadline,
            retry_period: args.leader_elect_retry_period,
        };
        if times.lease_duration <= times.renew_deadline || times.renew_deadline <= times.retry_period {
            return Err(ConfigError::LeaseTimes);
        }
        let election =
            Election { namespace: args.leader_elect_resource_namespace, name: args.leader_elect_resource_name, times };
        let root_ca = args
            .root_ca_file
            .map(|path| std::fs::read_to_string(&path).map_err(|source| ConfigError::RootCa { path, source }));
        Ok(Self {
            kubeconfig: args.kubeconfig,
            address: SocketAddr::new(args.bind_address, args.secure_port),
            tls: tls.map(|(cert, key)| TlsFiles { cert, key, client_ca: args.client_ca_file.clone() }),
            client_ca: args.client_ca_file,
            node_ranges,
            signing: signing.map(|(cert, key)| Signing { cert, key, lifetime: args.cluster_signing_duration }),
            controllers: args.controllers,
            election: args.leader_elect.then_some(election),
            root_ca: root_ca.transpose()?,
            own_accounts: args.use_service_account_credentials,
            node_grace: args.node_monitor_grace_period,
            ended_pods: args.terminated_pod_gc_threshold,
        })
    }
}

type Flag = (Option<PathBuf>, &'static str);

fn pair((first, first_name): Flag, (second, second_name): Flag) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    match (first, second) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (None, None) => Ok(None),
        _ => Err(ConfigError::Pair(first_name, second_name)),
    }
}

fn node_ranges(ranges: &[IpNet], v4: u8, v6: u8) -> Result<Vec<NodeRange>, ConfigError> {
    if ranges.is_empty() {
        return Err(ConfigError::NoRange);
    }
    let one = |range: &IpNet| {
        let node_prefix = if matches!(range, IpNet::V4(_)) { v4 } else { v6 };
        let fits = node_prefix >= range.prefix_len() && node_prefix <= range.max_prefix_len();
        fits.then_some(NodeRange { range: range.trunc(), node_prefix })
            .ok_or(ConfigError::NodePrefix { range: *range, node: node_prefix })
    };
    ranges.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: &[&str]) -> Result<Config, String> {
        let args =
            ["kube-controller-manager", "--kubeconfig=/etc/kubernetes/controller-manager.conf"].iter().chain(flags);
        let args = Args::try_parse_from(args).map_err(|error| error.to_string())?;
        Config::try_from(args).map_err(|error| error.to_string())
    }

    #[test]
    fn kubeadms_flags_are_understood() {
        let config = config(&[
            "--allocate-node-cidrs=true",
            "--authentication-kubeconfig=/etc/kubernetes/controller-manager.conf",
            "--authorization-kubeconfig=/etc/kubernetes/controller-manager.conf",
            "--bind-address=127.0.0.1",
            "--client-ca-file=/etc/kubernetes/pki/ca.crt",
            "--cluster-cidr=10.244.0.0/16",
            "--cluster-name=kubernetes",
            "--cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt",
            "--cluster-signing-key-file=/etc/kubernetes/pki/ca.key",
            "--controllers=*,bootstrapsigner,tokencleaner",
            "--leader-elect=true",
            "--requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt",
            "--service-account-private-key-file=/etc/kubernetes/pki/sa.key",
            "--service-cluster-ip-range=10.96.0.0/12",
            "--use-service-account-credentials=true",
        ])
        .unwrap();
        assert_eq!(config.address, "127.0.0.1:10257".parse().unwrap());
        assert_eq!(config.node_ranges, [NodeRange { range: "10.244.0.0/16".parse().unwrap(), node_prefix: 24 }]);
        assert_eq!(config.controllers, ["*", "bootstrapsigner", "tokencleaner"]);
        assert!(config.own_accounts && config.election.is_some());
    }

    #[test]
    fn half_a_pair_of_files_is_refused() {
        assert!(config(&["--tls-cert-file=/a"]).unwrap_err().contains("only make sense together"));
    }

    #[test]
    fn a_node_part_must_fit_into_the_range() {
        assert!(config(&["--allocate-node-cidrs", "--cluster-cidr=10.0.0.0/25"]).unwrap_err().contains("does not fit"));
        assert!(config(&["--allocate-node-cidrs"]).is_err());
    }

    #[test]
    fn lease_times_must_be_in_order() {
        assert!(config(&["--leader-elect-renew-deadline=20s"]).is_err());
    }
}
