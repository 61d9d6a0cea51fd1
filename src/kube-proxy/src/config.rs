//! Arguments and configuration file → a checked [`Config`].

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use component_base::flags::{boolean, duration};
use component_base::logging::LoggingArgs;
use ipnet::IpNet;

use crate::file::KubeProxyConfiguration;
use crate::node::{NodeFacts, PodTraffic};
use crate::sync::Settings;

/// Where `/healthz` is served unless told otherwise.
const HEALTHZ: &str = "0.0.0.0:10256";
/// Where `/metrics` is served unless told otherwise.
const METRICS: &str = "127.0.0.1:10249";
/// Upstream's bit of the packet mark.
const MASQUERADE_BIT: u8 = 14;
/// How long changes are gathered: long enough for the slices of one rollout step, too short to notice.
const WINDOW: Duration = Duration::from_millis(5);

/// The arguments as written; names are upstream's.
#[derive(Debug, Parser)]
#[command(name = "kube-proxy", about = "Makes Services work on a node")]
pub struct Args {
    /// `KubeProxyConfiguration` file; other flags but --hostname-override and those that upstream lacks are then ignored.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Kubeconfig file; without it the pod's own account is used.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// The node's name, if it is not the host's name.
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// Must be nftables.
    #[arg(long)]
    pub proxy_mode: Option<String>,
    /// The networks of all pods, separated by commas.
    #[arg(long)]
    pub cluster_cidr: Option<String>,
    /// How pod traffic is recognised: `ClusterCIDR`, `NodeCIDR`, `BridgeInterface` or `InterfaceNamePrefix`.
    #[arg(long)]
    pub detect_local_mode: Option<String>,
    /// Bridge for the mode `BridgeInterface`.
    #[arg(long)]
    pub pod_bridge_interface: Option<String>,
    /// Prefix for the mode `InterfaceNamePrefix`.
    #[arg(long)]
    pub pod_interface_name_prefix: Option<String>,
    /// Networks in which node ports are answered, or primary.
    #[arg(long, value_delimiter = ',')]
    pub nodeport_addresses: Vec<String>,
    /// Masquerade everything sent to a Service.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_parser = boolean, action = clap::ArgAction::Set)]
    pub masquerade_all: bool,
    /// Address and port of /healthz.
    #[arg(long)]
    pub healthz_bind_address: Option<String>,
    /// Address and port of /metrics.
    #[arg(long)]
    pub metrics_bind_address: Option<String>,
    /// The root of the host, mounted, whose nft and conntrack are used if there are none here.
    #[arg(long, default_value = "/host")]
    pub host_root: PathBuf,
    /// Keep a route to the pods of every other node through its address; for nodes that share one network and have
    /// no other network plugin that does it.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_parser = boolean, action = clap::ArgAction::Set)]
    pub node_routes: bool,
    /// Logging.
    #[command(flatten)]
    pub logging: LoggingArgs,
}

/// Limits of connection tracking; zero leaves the kernel's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConntrackLimits {
    /// Connections a processor.
    pub max_per_core: u64,
    /// Connections at least.
    pub min: u64,
    /// How long an idle TCP connection is remembered.
    pub tcp_established: Duration,
    /// How long a half-closed one is.
    pub tcp_close_wait: Duration,
}

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Path of the kubeconfig; none means the pod's own account.
    pub kubeconfig: Option<PathBuf>,
    /// How the rules are made.
    pub settings: Settings,
    /// Limits of connection tracking.
    pub conntrack: ConntrackLimits,
    /// Where `/healthz` is served; none switches it off.
    pub healthz: Option<SocketAddr>,
    /// Where `/metrics` is served; none switches it off.
    pub metrics: Option<SocketAddr>,
    /// Where the host's root may be mounted.
    pub host_root: PathBuf,
    /// Whether routes to the pods of other nodes are kept.
    pub node_routes: bool,
}

impl TryFrom<Args> for Config {
    type Error = anyhow::Error;

    fn try_from(args: Args) -> anyhow::Result<Self> {
        let (name, root, node_routes) = (args.hostname_override.clone(), args.host_root.clone(), args.node_routes);
        let file = match &args.config {
            Some(path) => read(path)?,
            None => from_flags(args),
        };
        let name = name.or_else(|| file.hostname_override.clone()).filter(|n| !n.is_empty());
        let name = match name {
            Some(name) => name,
            None => host_name()?,
        };
        Ok(Self { node_routes, ..check(&file, name.trim().to_lowercase(), root)? })
    }
}

fn host_name() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the host's name")?;
    Ok(name.to_string_lossy().into_owned())
}

fn read(path: &PathBuf) -> anyhow::Result<KubeProxyConfiguration> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file: KubeProxyConfiguration =
        serde_saphyr::from_str(&text).with_context(|| format!("{} is not understood", path.display()))?;
    ensure!(
        file.kind == "KubeProxyConfiguration" && file.api_version == "kubeproxy.config.k8s.io/v1alpha1",
        "{}: expected kind KubeProxyConfiguration of kubeproxy.config.k8s.io/v1alpha1",
        path.display()
    );
    Ok(file)
}

fn from_flags(args: Args) -> KubeProxyConfiguration {
    let mut file = KubeProxyConfiguration {
        cluster_cidr: args.cluster_cidr,
        detect_local_mode: args.detect_local_mode,
        healthz_bind_address: args.healthz_bind_address,
        metrics_bind_address: args.metrics_bind_address,
        mode: args.proxy_mode,
        node_port_addresses: Some(args.nodeport_addresses),
        ..KubeProxyConfiguration::default()
    };
    file.client_connection.kubeconfig = args.kubeconfig.map(|p| p.to_string_lossy().into_owned());
    file.detect_local.bridge_interface = args.pod_bridge_interface;
    file.detect_local.interface_name_prefix = args.pod_interface_name_prefix;
    file.nftables.masquerade_all = Some(args.masquerade_all);
    file
}

fn check(file: &KubeProxyConfiguration, name: String, host_root: PathBuf) -> anyhow::Result<Config> {
    match file.mode.as_deref().unwrap_or_default() {
        "" | "nftables" => {}
        other => bail!("mode: {other:?} is not supported; this proxy knows only \"nftables\""),
    }
    let bit = file.nftables.masquerade_bit.unwrap_or(MASQUERADE_BIT);
    ensure!(bit < 32, "nftables.masqueradeBit: {bit} is not within 0 to 31");
    let (pod_traffic, pods_by_node) = pod_traffic(file)?;
    let window = period("nftables.minSyncPeriod", file.nftables.min_sync_period.as_deref(), WINDOW)?;
    let node = NodeFacts {
        name,
        zone: None,
        port_addresses: Vec::new(),
        pod_traffic,
        masquerade_all: file.nftables.masquerade_all.unwrap_or(false),
        mark: 1 << bit,
    };
    let kubeconfig = file.client_connection.kubeconfig.as_ref().filter(|p| !p.is_empty()).map(PathBuf::from);
    Ok(Config {
        kubeconfig,
        settings: Settings {
            node,
            port_networks: port_networks(file.node_port_addresses.as_deref().unwrap_or_default())?,
            pods_by_node,
            window: window.max(WINDOW),
        },
        conntrack: conntrack(file)?,
        healthz: address("healthzBindAddress", file.healthz_bind_address.as_deref(), HEALTHZ)?,
        metrics: address("metricsBindAddress", file.metrics_bind_address.as_deref(), METRICS)?,
        host_root,
        node_routes: false,
    })
}

fn conntrack(file: &KubeProxyConfiguration) -> anyhow::Result<ConntrackLimits> {
    let given = &file.conntrack;
    let (established, close_wait) = (&given.tcp_established_timeout, &given.tcp_close_wait_timeout);
    Ok(ConntrackLimits {
        max_per_core: given.max_per_core.unwrap_or(32 * 1024),
        min: given.min.unwrap_or(128 * 1024),
        tcp_established: period("conntrack.tcpEstablishedTimeout", established.as_deref(), Duration::from_hours(24))?,
        tcp_close_wait: period("conntrack.tcpCloseWaitTimeout", close_wait.as_deref(), Duration::from_hours(1))?,
    })
}

/// How pod traffic is recognised, and whether that waits for the Node object.
fn pod_traffic(file: &KubeProxyConfiguration) -> anyhow::Result<(PodTraffic, bool)> {
    let interface = |name: &Option<String>, field: &str| -> anyhow::Result<String> {
        let name = name.clone().unwrap_or_default();
        let valid = !name.is_empty() && name.len() < 16 && name.chars().all(|c| c.is_ascii_graphic() && c != '"');
        ensure!(valid, "detectLocal.{field}: {name:?} is no name of an interface");
        Ok(name)
    };
    let local = &file.detect_local;
    Ok(match file.detect_local_mode.as_deref().unwrap_or_default() {
        "" | "ClusterCIDR" => {
            let networks = networks("clusterCIDR", file.cluster_cidr.as_deref().unwrap_or_default())?;
            (if networks.is_empty() { PodTraffic::Unknown } else { PodTraffic::Networks(networks) }, false)
        }
        "NodeCIDR" => (PodTraffic::Unknown, true),
        "BridgeInterface" => (PodTraffic::Interface(interface(&local.bridge_interface, "bridgeInterface")?), false),
        "InterfaceNamePrefix" => {
            let prefix = interface(&local.interface_name_prefix, "interfaceNamePrefix")?;
            (PodTraffic::InterfacePrefix(prefix), false)
        }
        other => {
            bail!("detectLocalMode: {other:?} is none of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix")
        }
    })
}

fn networks(field: &str, text: &str) -> anyhow::Result<Vec<IpNet>> {
    let texts = text.split(',').map(str::trim).filter(|t| !t.is_empty());
    texts.map(|t| t.parse().with_context(|| format!("{field}: {t:?} is no network"))).collect()
}

fn port_networks(texts: &[String]) -> anyhow::Result<Vec<IpNet>> {
    if texts.iter().any(|t| t == "primary") {
        ensure!(texts.len() == 1, "nodePortAddresses: primary cannot be combined with networks");
        return Ok(Vec::new());
    }
    networks("nodePortAddresses", &texts.join(","))
}

fn period(field: &str, text: Option<&str>, default: Duration) -> anyhow::Result<Duration> {
    let Some(text) = text else { return Ok(default) };
    duration(text).map_err(|why| anyhow::anyhow!("{field}: {why}"))
}

/// An address with a port; an empty text switches the server off, a bare address gets the default port.
fn address(field: &str, text: Option<&str>, default: &str) -> anyhow::Result<Option<SocketAddr>> {
    let default: SocketAddr = default.parse().context("the default address")?;
    let Some(text) = text.filter(|t| !t.is_empty()) else {
        return Ok(Some(default));
    };
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Some(SocketAddr::new(ip, default.port())));
    }
    let socket: SocketAddr = text.parse().with_context(|| format!("{field}: {text:?} is no address with a port"))?;
    Ok((socket.port() != 0).then_some(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(yaml: &str) -> anyhow::Result<Config> {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{head}{yaml}")).unwrap();
        let args = [
            "kube-proxy".into(),
            "--config".into(),
            file.path().as_os_str().to_owned(),
            "--hostname-override=N1".into(),
        ];
        Config::try_from(Args::parse_from(args))
    }

    #[test]
    fn the_file_kubeadm_writes_is_understood() {
        let config = config(
            "bindAddress: 0.0.0.0\nbindAddressHardFail: false\nclientConnection:\n  acceptContentTypes: ''\n  burst: 0\n  \
             contentType: ''\n  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf\n  qps: 0\nclusterCIDR: 10.244.0.0/16\n\
             configSyncPeriod: 0s\nconntrack:\n  maxPerCore: null\n  min: null\n  tcpBeLiberal: false\n  \
             tcpCloseWaitTimeout: null\n  tcpEstablishedTimeout: null\n  udpStreamTimeout: 0s\n  udpTimeout: 0s\n\
             detectLocal:\n  bridgeInterface: ''\n  interfaceNamePrefix: ''\ndetectLocalMode: ''\nenableProfiling: false\n\
             healthzBindAddress: ''\nhostnameOverride: ''\niptables:\n  masqueradeAll: false\n  syncPeriod: 0s\nipvs: {}\n\
             logging:\n  verbosity: 0\nmetricsBindAddress: ''\nmode: nftables\nnftables:\n  masqueradeAll: false\n  \
             masqueradeBit: null\n  minSyncPeriod: 0s\n  syncPeriod: 0s\nnodePortAddresses: null\noomScoreAdj: null\n\
             portRange: ''\nshowHiddenMetricsForVersion: ''\nwinkernel: {}\n",
        )
        .unwrap();
        assert_eq!(config.settings.node.name, "n1");
        assert_eq!(config.settings.node.mark, 0x4000);
        assert_eq!(config.settings.node.pod_traffic, PodTraffic::Networks(vec!["10.244.0.0/16".parse().unwrap()]));
        assert_eq!(config.healthz.unwrap().to_string(), HEALTHZ);
        assert_eq!(config.kubeconfig.unwrap().to_str(), Some("/var/lib/kube-proxy/kubeconfig.conf"));
    }

    #[test]
    fn wrong_values_name_their_field() {
        for (yaml, field) in [
            ("mode: ipvs\n", "mode"),
            ("clusterCIDR: 10.0.0.0/40\n", "clusterCIDR"),
            ("nftables: {masqueradeBit: 32}\n", "masqueradeBit"),
            ("nftables: {minSyncPeriod: soon}\n", "minSyncPeriod"),
            ("detectLocalMode: Guess\n", "detectLocalMode"),
            ("detectLocalMode: BridgeInterface\n", "bridgeInterface"),
            ("healthzBindAddress: here\n", "healthzBindAddress"),
            ("noSuchField: 1\n", "noSuchField"),
        ] {
            let error = format!("{:#}", config(yaml).unwrap_err());
            assert!(error.contains(field), "{yaml}: {error}");
        }
    }
}
