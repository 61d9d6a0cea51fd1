//! Flags and configuration file → a checked [`Config`].

pub mod file;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use component_base::flags::{boolean, key_values};
use component_base::logging::LoggingArgs;
use k8s_openapi::api::core::v1::Taint;

use crate::cgroup::Driver;
use crate::eviction::threshold::EvictionSettings;
use crate::image_gc::ImageLimits;
use crate::log_rotation::LogLimits;
use file::KubeletConfiguration;

const ROOT: &str = "/var/lib/kubelet";
const ENDPOINT: &str = "unix:///run/containerd/containerd.sock";

/// The arguments as written; names are upstream's.
#[derive(Debug, Parser)]
#[command(name = "kubelet", about = "Runs the pods of a node", disable_version_flag = true)]
pub struct Args {
    /// `KubeletConfiguration` file.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Kubeconfig file; without it and without --bootstrap-kubeconfig only static pods run.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Kubeconfig used once to get a client certificate, which becomes --kubeconfig.
    #[arg(long)]
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// The node's name, if it is not the host's name.
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// The node's addresses, one of a family.
    #[arg(long, value_delimiter = ',')]
    pub node_ip: Vec<IpAddr>,
    /// Labels of the node when it registers.
    #[arg(long, value_parser = key_values, default_value = "")]
    pub node_labels: BTreeMap<String, String>,
    /// Taints of the node when it registers: key=value:effect.
    #[arg(long, value_delimiter = ',')]
    pub register_with_taints: Vec<String>,
    /// Whether the node registers itself.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", value_parser = boolean, action = clap::ArgAction::Set)]
    pub register_node: bool,
    /// Socket of the container runtime.
    #[arg(long)]
    pub container_runtime_endpoint: Option<String>,
    /// Where the kubelet keeps its files.
    #[arg(long, default_value = ROOT)]
    pub root_dir: PathBuf,
    /// Where certificates are kept; by default pki below the root folder.
    #[arg(long)]
    pub cert_dir: Option<PathBuf>,
    /// Folder of static pods, if there is no configuration file.
    #[arg(long)]
    pub pod_manifest_path: Option<PathBuf>,
    /// The pause image is the runtime's affair; accepted and not used.
    #[arg(long, hide = true)]
    pub pod_infra_container_image: Option<String>,
    /// Logging.
    #[command(flatten)]
    pub logging: LoggingArgs,
}

/// Who may speak to the server.
#[derive(Debug, Clone)]
pub struct Access {
    /// The authority of client certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether tokens are reviewed by the API server.
    pub webhook_authentication: bool,
    /// Whether requests without credentials are let in as `system:anonymous`.
    pub anonymous: bool,
    /// Whether the API server decides what a user may do; else everyone may do everything.
    pub webhook_authorization: bool,
}

/// Where the server listens and with what.
#[derive(Debug, Clone)]
pub struct Serving {
    /// Address and port of the server.
    pub address: SocketAddr,
    /// Address and port of `/healthz` alone.
    pub healthz: Option<SocketAddr>,
    /// Certificate and key, if given.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whether the API server signs the certificate.
    pub bootstrap: bool,
    /// Who may speak to it.
    pub access: Access,
}

/// Names and addresses of the node.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The name.
    pub name: String,
    /// Addresses given; empty means to look for them.
    pub ips: Vec<IpAddr>,
    /// Labels at registration.
    pub labels: BTreeMap<String, String>,
    /// Taints at registration.
    pub taints: Vec<Taint>,
    /// Whether to register.
    pub register: bool,
}

/// What is kept back from pods, as quantities by resource.
pub type Reserved = BTreeMap<String, String>;

/// What pods get.
#[derive(Debug, Clone)]
pub struct PodSettings {
    /// Folder of static pods.
    pub static_path: Option<PathBuf>,
    /// How many pods the node takes.
    pub max_pods: usize,
    /// The range of pod addresses, if not the API server's to say.
    pub pod_cidr: Option<String>,
    /// Addresses of the cluster's DNS.
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of the cluster.
    pub cluster_domain: String,
    /// The node's resolver configuration.
    pub resolv_conf: PathBuf,
    /// Who keeps control groups.
    pub cgroup_driver: Driver,
    /// Kept back from pods for the system.
    pub reserved: Vec<Reserved>,
    /// Folder of container logs.
    pub logs: PathBuf,
    /// When logs are put aside.
    pub log_limits: LogLimits,
    /// When images are removed.
    pub image_limits: ImageLimits,
    /// When the node is under pressure, and what it does then.
    pub eviction: EvictionSettings,
}

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node.
    pub identity: Identity,
    /// Kubeconfig file, if there is an API.
    pub kubeconfig: Option<PathBuf>,
    /// Kubeconfig for the first certificate.
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// Socket of the runtime.
    pub runtime_endpoint: String,
    /// Where files go.
    pub root: PathBuf,
    /// Where certificates go.
    pub cert_dir: PathBuf,
    /// The server.
    pub serving: Serving,
    /// Pods.
    pub pods: PodSettings,
    /// How long the lease of the node lasts.
    pub lease_duration: Duration,
    /// How often the status of the node is told though nothing changed.
    pub status_report: Duration,
}

impl TryFrom<Args> for Config {
    type Error = anyhow::Error;

    fn try_from(args: Args) -> anyhow::Result<Self> {
        let file = match &args.config {
            Some(path) => read(path)?,
            None => KubeletConfiguration {
                static_pod_path: args.pod_manifest_path.as_ref().map(|path| path.display().to_string()),
                ..Default::default()
            },
        };
        let pods = pods(&file)?;
        let serving = serving(&file)?;
        let lease = Duration::from_secs(u64::from(file.node_lease_duration_seconds.unwrap_or(40)));
        let status_report = match &file.node_status_report_frequency {
            Some(text) => component_base::flags::duration(text)
                .map_err(|error| anyhow::anyhow!("nodeStatusReportFrequency: {error}"))?,
            None => Duration::from_mins(5),
        };
        let endpoint = args
            .container_runtime_endpoint
            .clone()
            .or(file.container_runtime_endpoint.clone())
            .filter(|text| !text.is_empty());
        let cert_dir = args.cert_dir.clone().unwrap_or_else(|| args.root_dir.join("pki"));
        Ok(Self {
            identity: identity(&args, &file)?,
            kubeconfig: args.kubeconfig,
            bootstrap_kubeconfig: args.bootstrap_kubeconfig,
            runtime_endpoint: endpoint.unwrap_or_else(|| ENDPOINT.to_owned()),
            root: args.root_dir,
            cert_dir,
            serving,
            pods,
            lease_duration: lease,
            status_report,
        })
    }
}

fn read(path: &Path) -> anyhow::Result<KubeletConfiguration> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    file::parse(&text).with_context(|| format!("{} is not understood", path.display()))
}

fn identity(args: &Args, file: &KubeletConfiguration) -> anyhow::Result<Identity> {
    let name = match args.hostname_override.clone().filter(|name| !name.is_empty()) {
        Some(name) => name,
        None => nix::unistd::gethostname().context("cannot read the host's name")?.to_string_lossy().into_owned(),
    };
    let mut taints = file.register_with_taints.clone().unwrap_or_default();
    for text in args.register_with_taints.iter().filter(|text| !text.is_empty()) {
        taints.push(taint(text)?);
    }
    Ok(Identity {
        name: name.trim().to_lowercase(),
        ips: args.node_ip.clone(),
        labels: args.node_labels.clone(),
        taints,
        register: args.register_node && file.register_node.unwrap_or(true),
    })
}

fn taint(text: &str) -> anyhow::Result<Taint> {
    let Some((pair, effect)) = text.rsplit_once(':') else {
        bail!("--register-with-taints: {text:?} is not key=value:effect")
    };
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        bail!("--register-with-taints: {effect:?} is no effect of a taint");
    }
    let (key, value) = pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)));
    Ok(Taint {
        key: key.to_owned(),
        value: value.map(str::to_owned).filter(|value| !value.is_empty()),
        effect: effect.to_owned(),
        time_added: None,
    })
}

fn pods(file: &KubeletConfiguration) -> anyhow::Result<PodSettings> {
    let driver = match file.cgroup_driver.as_deref().unwrap_or("cgroupfs") {
        "systemd" => Driver::Systemd,
        "cgroupfs" => Driver::Cgroupfs,
        other => bail!("cgroupDriver: {other:?} is neither systemd nor cgroupfs"),
    };
    let dns = file
        .cluster_dns
        .iter()
        .flatten()
        .map(|text| text.parse().with_context(|| format!("clusterDNS: {text:?} is no address")));
    let path = |text: &Option<String>| text.clone().filter(|text| !text.is_empty()).map(PathBuf::from);
    Ok(PodSettings {
        static_path: path(&file.static_pod_path),
        max_pods: usize::try_from(file.max_pods.unwrap_or(110)).context("maxPods must not be negative")?,
        pod_cidr: file.pod_cidr.clone().filter(|cidr| !cidr.is_empty()),
        cluster_dns: dns.collect::<anyhow::Result<_>>()?,
        cluster_domain: file.cluster_domain.clone().unwrap_or_default(),
        resolv_conf: file.resolv_conf.clone().map_or_else(|| PathBuf::from("/etc/resolv.conf"), PathBuf::from),
        cgroup_driver: driver,
        reserved: [&file.system_reserved, &file.kube_reserved].into_iter().flatten().cloned().collect(),
        logs: path(&file.pod_logs_dir).unwrap_or_else(|| PathBuf::from("/var/log/pods")),
        log_limits: LogLimits::of(file).map_err(anyhow::Error::msg)?,
        image_limits: ImageLimits::of(file).map_err(anyhow::Error::msg)?,
        eviction: EvictionSettings::of(file).map_err(anyhow::Error::msg)?,
    })
}

fn serving(file: &KubeletConfiguration) -> anyhow::Result<Serving> {
    let address: IpAddr = file.address.as_deref().unwrap_or("0.0.0.0").parse().context("address is no IP address")?;
    let healthz_address: IpAddr = file
        .healthz_bind_address
        .as_deref()
        .unwrap_or("127.0.0.1")
        .parse()
        .context("healthzBindAddress is no IP address")?;
    let certificate = match (&file.tls_cert_file, &file.tls_private_key_file) {
        (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
        (None, None) => None,
        _ => bail!("tlsCertFile and tlsPrivateKeyFile belong together"),
    };
    let authentication = file.authentication.clone().unwrap_or_default();
    let webhook_authorization = match file
        .authorization
        .as_ref()
        .and_then(|authorization| authorization.mode.as_deref())
        .unwrap_or("Webhook")
    {
        "Webhook" => true,
        "AlwaysAllow" => false,
        other => bail!("authorization.mode: {other:?} is neither Webhook nor AlwaysAllow"),
    };
    let port = |number: Option<u16>, default: u16| number.unwrap_or(default);
    Ok(Serving {
        address: SocketAddr::new(address, port(file.port, 10250)),
        healthz: Some(port(file.healthz_port, 10248))
            .filter(|port| *port > 0)
            .map(|port| SocketAddr::new(healthz_address, port)),
        certificate,
        bootstrap: file.server_tls_bootstrap.unwrap_or(false),
        access: Access {
            client_ca: authentication.x509.client_ca_file.filter(|path| !path.is_empty()).map(PathBuf::from),
            webhook_authentication: authentication.webhook.enabled.unwrap_or(true),
            anonymous: authentication.anonymous.enabled.unwrap_or(false),
            webhook_authorization,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> anyhow::Result<Config> {
        let args = std::iter::once("kubelet").chain(arguments.iter().copied());
        Config::try_from(Args::try_parse_from(args)?)
    }

    #[test]
    fn defaults_are_upstreams() {
        let config = config(&["--hostname-override=N1"]).unwrap();
        assert_eq!(config.identity.name, "n1");
        assert_eq!(config.serving.address.to_string(), "0.0.0.0:10250");
        assert_eq!(config.serving.healthz.unwrap().to_string(), "127.0.0.1:10248");
        assert!(config.serving.access.webhook_authorization && !config.serving.access.anonymous);
        assert_eq!((config.pods.max_pods, config.runtime_endpoint.as_str()), (110, ENDPOINT));
    }

    #[test]
    fn flags_are_upstreams() {
        let config = config(&[
            "--hostname-override=n1",
            "--node-ip=10.0.0.1,fd00::1",
            "--node-labels=a=1,b=2",
            "--register-with-taints=k=v:NoSchedule,only:NoExecute",
            "--register-node=false",
            "-v=4",
        ])
        .unwrap();
        assert_eq!(config.identity.ips.len(), 2);
        assert_eq!(config.identity.labels["b"], "2");
        assert_eq!(
            (config.identity.taints[0].value.as_deref(), config.identity.taints[1].key.as_str()),
            (Some("v"), "only")
        );
        assert!(!config.identity.register);
    }

    #[test]
    fn wrong_values_name_their_place() {
        let error = |arguments: &[&str]| format!("{:#}", config(arguments).unwrap_err());
        assert!(error(&["--register-with-taints=k=v:Nope"]).contains("register-with-taints"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(
            &path,
            "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\ncgroupDriver: magic\n",
        )
        .unwrap();
        assert!(error(&["--config", path.to_str().unwrap()]).contains("cgroupDriver"));
    }
}
