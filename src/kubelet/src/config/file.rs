//! The `KubeletConfiguration` file, `kubelet.config.k8s.io/v1beta1`.
//!
//! Fields that upstream knows and this kubelet does not need are accepted, because files are shared between them;
//! fields that nobody knows are refused with their path.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;
use serde::Deserialize;
use serde_json::Value;

/// Why a file was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not YAML.
    #[error("{0}")]
    Syntax(String),
    /// It is of another kind.
    #[error("expected kind KubeletConfiguration of kubelet.config.k8s.io/v1beta1")]
    Kind,
    /// It has fields that nobody knows.
    #[error("unknown field {}", .paths.join(", "))]
    Unknown {
        /// The paths of the fields.
        paths: Vec<String>,
    },
    /// A field has the wrong type.
    #[error("{0}")]
    Type(#[from] serde_json::Error),
}

/// The fields this kubelet reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are upstream's and documented there")]
pub struct KubeletConfiguration {
    pub static_pod_path: Option<String>,
    pub address: Option<String>,
    pub port: Option<u16>,
    pub healthz_port: Option<u16>,
    pub healthz_bind_address: Option<String>,
    pub tls_cert_file: Option<String>,
    pub tls_private_key_file: Option<String>,
    #[serde(rename = "serverTLSBootstrap")]
    pub server_tls_bootstrap: Option<bool>,
    pub rotate_certificates: Option<bool>,
    pub authentication: Option<Authentication>,
    pub authorization: Option<Authorization>,
    pub cluster_domain: Option<String>,
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: Option<Vec<String>>,
    pub cgroup_driver: Option<String>,
    pub max_pods: Option<i32>,
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Option<String>,
    pub resolv_conf: Option<String>,
    pub eviction_hard: Option<BTreeMap<String, String>>,
    pub eviction_soft: Option<BTreeMap<String, String>>,
    pub eviction_soft_grace_period: Option<BTreeMap<String, String>>,
    pub eviction_minimum_reclaim: Option<BTreeMap<String, String>>,
    pub eviction_max_pod_grace_period: Option<i32>,
    pub eviction_pressure_transition_period: Option<String>,
    pub system_reserved: Option<BTreeMap<String, String>>,
    pub kube_reserved: Option<BTreeMap<String, String>>,
    pub container_runtime_endpoint: Option<String>,
    pub register_with_taints: Option<Vec<Taint>>,
    pub register_node: Option<bool>,
    pub node_lease_duration_seconds: Option<u16>,
    pub node_status_report_frequency: Option<String>,
    pub pod_logs_dir: Option<String>,
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold_percent: Option<i32>,
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold_percent: Option<i32>,
    #[serde(rename = "imageMinimumGCAge")]
    pub image_minimum_gc_age: Option<String>,
    #[serde(rename = "imageMaximumGCAge")]
    pub image_maximum_gc_age: Option<String>,
    pub container_log_max_size: Option<String>,
    pub container_log_max_files: Option<i32>,
    pub container_log_monitor_interval: Option<String>,
}

/// How requests are authenticated.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are upstream's and documented there")]
pub struct Authentication {
    pub x509: X509,
    pub webhook: Enabled,
    pub anonymous: Enabled,
}

/// Client certificates.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct X509 {
    /// The file of the authority.
    #[serde(rename = "clientCAFile")]
    pub client_ca_file: Option<String>,
}

/// A switch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Enabled {
    /// On or off.
    pub enabled: Option<bool>,
}

/// How requests are authorized.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Authorization {
    /// `Webhook` or `AlwaysAllow`.
    pub mode: Option<String>,
}

/// Every field of upstream's version 1.35; an entry with a colon has only these fields below it.
const KNOWN: &[&str] = &[
    "apiVersion",
    "kind",
    "enableServer",
    "staticPodPath",
    "podLogsDir",
    "syncFrequency",
    "fileCheckFrequency",
    "httpCheckFrequency",
    "staticPodURL",
    "staticPodURLHeader",
    "address",
    "port",
    "readOnlyPort",
    "tlsCertFile",
    "tlsPrivateKeyFile",
    "tlsCipherSuites",
    "tlsMinVersion",
    "tlsCurvePreferences",
    "rotateCertificates",
    "serverTLSBootstrap",
    "authentication:x509,webhook,anonymous",
    "authorization:mode,webhook",
    "registryPullQPS",
    "registryBurst",
    "imagePullCredentialsVerificationPolicy",
    "preloadedImagesVerificationAllowlist",
    "eventRecordQPS",
    "eventBurst",
    "enableDebuggingHandlers",
    "enableContentionProfiling",
    "healthzPort",
    "healthzBindAddress",
    "oomScoreAdj",
    "clusterDomain",
    "clusterDNS",
    "streamingConnectionIdleTimeout",
    "nodeStatusUpdateFrequency",
    "nodeStatusReportFrequency",
    "nodeLeaseDurationSeconds",
    "imageMinimumGCAge",
    "imageMaximumGCAge",
    "imageGCHighThresholdPercent",
    "imageGCLowThresholdPercent",
    "volumeStatsAggPeriod",
    "kubeletCgroups",
    "systemCgroups",
    "cgroupRoot",
    "cgroupsPerQOS",
    "cgroupDriver",
    "cpuManagerPolicy",
    "singleProcessOOMKill",
    "cpuManagerPolicyOptions",
    "cpuManagerReconcilePeriod",
    "memoryManagerPolicy",
    "topologyManagerPolicy",
    "topologyManagerScope",
    "topologyManagerPolicyOptions",
    "qosReserved",
    "runtimeRequestTimeout",
    "hairpinMode",
    "maxPods",
    "podCIDR",
    "podPidsLimit",
    "resolvConf",
    "runOnce",
    "cpuCFSQuota",
    "cpuCFSQuotaPeriod",
    "nodeStatusMaxImages",
    "maxOpenFiles",
    "contentType",
    "kubeAPIQPS",
    "kubeAPIBurst",
    "serializeImagePulls",
    "maxParallelImagePulls",
    "evictionHard",
    "evictionSoft",
    "evictionSoftGracePeriod",
    "evictionPressureTransitionPeriod",
    "evictionMaxPodGracePeriod",
    "evictionMinimumReclaim",
    "mergeDefaultEvictionSettings",
    "podsPerCore",
    "enableControllerAttachDetach",
    "protectKernelDefaults",
    "makeIPTablesUtilChains",
    "iptablesMasqueradeBit",
    "iptablesDropBit",
    "featureGates",
    "failSwapOn",
    "memorySwap",
    "containerLogMaxSize",
    "containerLogMaxFiles",
    "containerLogMaxWorkers",
    "containerLogMonitorInterval",
    "configMapAndSecretChangeDetectionStrategy",
    "systemReserved",
    "kubeReserved",
    "reservedSystemCPUs",
    "showHiddenMetricsForVersion",
    "systemReservedCgroup",
    "kubeReservedCgroup",
    "enforceNodeAllocatable",
    "allowedUnsafeSysctls",
    "volumePluginDir",
    "providerID",
    "kernelMemcgNotification",
    "logging",
    "enableSystemLogHandler",
    "enableSystemLogQuery",
    "shutdownGracePeriod",
    "shutdownGracePeriodCriticalPods",
    "shutdownGracePeriodByPodPriority",
    "crashLoopBackOff",
    "reservedMemory",
    "enableProfilingHandler",
    "enableDebugFlagsHandler",
    "seccompDefault",
    "memoryThrottlingFactor",
    "registerWithTaints",
    "registerNode",
    "tracing",
    "localStorageCapacityIsolation",
    "containerRuntimeEndpoint",
    "imageServiceEndpoint",
    "failCgroupV1",
    "userNamespaces",
];

/// Reads a configuration file.
pub fn parse(text: &str) -> Result<KubeletConfiguration, FileError> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| FileError::Syntax(error.to_string()))?;
    let is = |field: &str, wanted: &str| value.get(field).and_then(Value::as_str) == Some(wanted);
    if !is("kind", "KubeletConfiguration") || !is("apiVersion", "kubelet.config.k8s.io/v1beta1") {
        return Err(FileError::Kind);
    }
    let paths = unknown(&value);
    if !paths.is_empty() {
        return Err(FileError::Unknown { paths });
    }
    Ok(serde_json::from_value(drop_nulls(value))?)
}

fn unknown(value: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    for (name, below) in value.as_object().into_iter().flatten() {
        let entry = KNOWN.iter().find(|entry| entry.split(':').next() == Some(name));
        match entry.and_then(|entry| entry.split_once(':')) {
            None if entry.is_none() => paths.push(name.clone()),
            None => {}
            Some((_, fields)) => {
                let known: Vec<&str> = fields.split(',').collect();
                let inner = below.as_object().into_iter().flatten().map(|(inner, _)| inner);
                paths.extend(
                    inner.filter(|inner| !known.contains(&inner.as_str())).map(|inner| format!("{name}.{inner}")),
                );
            }
        }
    }
    paths
}

/// A field that is written and empty is a field that is not given.
fn drop_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            map.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key, drop_nulls(value))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

    #[test]
    fn a_file_as_kubeadm_writes_it_is_read() {
        let text = format!(
            "{HEAD}authentication:\n  anonymous:\n    enabled: false\n  webhook:\n    cacheTTL: 0s\n    enabled: true\n  x509:\n    clientCAFile: /etc/kubernetes/pki/ca.crt\n\
             authorization:\n  mode: Webhook\n  webhook:\n    cacheAuthorizedTTL: 0s\ncgroupDriver: systemd\nclusterDNS:\n- 10.96.0.10\n\
             clusterDomain: cluster.local\nhealthzPort: 10248\nlogging:\n  flushFrequency: 0\nmemorySwap: {{}}\nrotateCertificates: true\nstaticPodPath: /etc/kubernetes/manifests\n"
        );
        let file = parse(&text).unwrap();
        assert_eq!(file.authentication.unwrap().x509.client_ca_file.as_deref(), Some("/etc/kubernetes/pki/ca.crt"));
        assert_eq!(file.cluster_dns.unwrap(), ["10.96.0.10"]);
        assert_eq!(file.static_pod_path.as_deref(), Some("/etc/kubernetes/manifests"));
    }

    #[test]
    fn unknown_fields_and_wrong_types_are_refused() {
        let error = |rest: &str| parse(&format!("{HEAD}{rest}")).unwrap_err().to_string();
        assert_eq!(
            error("maxPod: 1\nauthentication:\n  anonymus: {}\n"),
            "unknown field authentication.anonymus, maxPod"
        );
        assert!(error("port: many\n").contains("invalid type"));
        assert!(matches!(parse("kind: Pod\n"), Err(FileError::Kind)));
    }
}
