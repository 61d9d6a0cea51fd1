//! `KubeProxyConfiguration`, the file of `--config`.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The file as written; what this proxy has no use for is accepted and ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubeProxyConfiguration {
    /// `kubeproxy.config.k8s.io/v1alpha1`.
    pub api_version: String,
    /// `KubeProxyConfiguration`.
    pub kind: String,
    /// Address of the health server if that has none of its own.
    pub bind_address: Option<String>,
    /// Whether a port that cannot be opened ends the program.
    pub bind_address_hard_fail: Option<bool>,
    /// How to reach the API server.
    pub client_connection: ClientConnection,
    /// The networks of all pods.
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: Option<String>,
    /// Limits of connection tracking.
    pub conntrack: Conntrack,
    /// Details of how pod traffic is recognised.
    pub detect_local: DetectLocal,
    /// How pod traffic is recognised.
    pub detect_local_mode: Option<String>,
    /// Address and port of `/healthz`.
    pub healthz_bind_address: Option<String>,
    /// The node's name.
    pub hostname_override: Option<String>,
    /// Address and port of `/metrics`.
    pub metrics_bind_address: Option<String>,
    /// `nftables`.
    pub mode: Option<String>,
    /// How the nftables mode works.
    pub nftables: Nftables,
    /// Networks in which node ports are answered, or `primary`.
    pub node_port_addresses: Option<Vec<String>>,
    #[serde(rename = "configSyncPeriod")]
    pub(crate) _config_sync_period: IgnoredAny,
    #[serde(rename = "enableProfiling")]
    pub(crate) _enable_profiling: IgnoredAny,
    #[serde(rename = "featureGates")]
    pub(crate) _feature_gates: IgnoredAny,
    #[serde(rename = "iptables")]
    pub(crate) _iptables: IgnoredAny,
    #[serde(rename = "ipvs")]
    pub(crate) _ipvs: IgnoredAny,
    #[serde(rename = "logging")]
    pub(crate) _logging: IgnoredAny,
    #[serde(rename = "oomScoreAdj")]
    pub(crate) _oom_score_adj: IgnoredAny,
    #[serde(rename = "portRange")]
    pub(crate) _port_range: IgnoredAny,
    #[serde(rename = "showHiddenMetricsForVersion")]
    pub(crate) _hidden_metrics: IgnoredAny,
    #[serde(rename = "udpIdleTimeout")]
    pub(crate) _udp_idle_timeout: IgnoredAny,
    #[serde(rename = "windowsRunAsService")]
    pub(crate) _windows_service: IgnoredAny,
    #[serde(rename = "winkernel")]
    pub(crate) _winkernel: IgnoredAny,
}

/// How to reach the API server.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClientConnection {
    /// Path of the kubeconfig; empty means the pod's own account.
    pub kubeconfig: Option<String>,
    #[serde(rename = "acceptContentTypes")]
    pub(crate) _accept_content_types: IgnoredAny,
    #[serde(rename = "contentType")]
    pub(crate) _content_type: IgnoredAny,
    #[serde(rename = "burst")]
    pub(crate) _burst: IgnoredAny,
    #[serde(rename = "qps")]
    pub(crate) _qps: IgnoredAny,
}

/// Limits of connection tracking; durations in Go's form.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Conntrack {
    /// Connections a processor.
    pub max_per_core: Option<u64>,
    /// Connections at least.
    pub min: Option<u64>,
    /// How long an idle TCP connection is remembered.
    pub tcp_established_timeout: Option<String>,
    /// How long a half-closed one is.
    pub tcp_close_wait_timeout: Option<String>,
    #[serde(rename = "tcpBeLiberal")]
    pub(crate) _tcp_be_liberal: IgnoredAny,
    #[serde(rename = "udpTimeout")]
    pub(crate) _udp_timeout: IgnoredAny,
    #[serde(rename = "udpStreamTimeout")]
    pub(crate) _udp_stream_timeout: IgnoredAny,
}

/// Details of how pod traffic is recognised.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DetectLocal {
    /// The bridge pods are attached to.
    pub bridge_interface: Option<String>,
    /// How the names of pods' interfaces begin.
    pub interface_name_prefix: Option<String>,
}

/// How the nftables mode works.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Nftables {
    /// Whether everything sent to a Service is masqueraded.
    pub masquerade_all: Option<bool>,
    /// The bit of the packet mark that asks for masquerading.
    pub masquerade_bit: Option<u8>,
    /// The shortest time between two transactions, in Go's form.
    pub min_sync_period: Option<String>,
    #[serde(rename = "syncPeriod")]
    pub(crate) _sync_period: IgnoredAny,
}
