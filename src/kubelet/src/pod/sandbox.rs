//! The sandbox of a pod: what its containers share.

use cri::api::{LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol};
use k8s_openapi::api::core::v1::{ContainerPort, Pod};

use super::dns::{self, DnsSettings};
use super::{hosts, identity, resources, security};
use crate::paths::Paths;

/// The configuration of the `attempt`-th sandbox of a pod.
pub fn config(pod: &Pod, attempt: u32, cgroup_parent: &str, dns: &DnsSettings, paths: &Paths) -> PodSandboxConfig {
    let host_network = identity::host_network(pod);
    let sysctls = pod
        .spec
        .iter()
        .filter_map(|spec| spec.security_context.as_ref())
        .flat_map(|context| context.sysctls.iter().flatten());
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: identity::name(pod).to_owned(),
            uid: identity::uid(pod).to_owned(),
            namespace: identity::namespace(pod).to_owned(),
            attempt,
        }),
        // A pod on the node's network sees the node's name.
        hostname: if host_network { String::new() } else { hosts::hostname(pod) },
        log_directory: paths.pod_logs(pod).display().to_string(),
        dns_config: Some(dns::of_pod(pod, dns)),
        port_mappings: if host_network { Vec::new() } else { port_mappings(pod) },
        labels: identity::sandbox_labels(pod),
        annotations: pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent.to_owned(),
            security_context: Some(security::of_sandbox(pod)),
            sysctls: sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect(),
            overhead: None,
            resources: Some(resources::of_pod_cgroup(pod)),
        }),
        windows: None,
    }
}

fn port_mappings(pod: &Pod) -> Vec<PortMapping> {
    let sidecars = identity::init_containers(pod).iter().filter(|container| identity::is_sidecar(container));
    let ports = identity::containers(pod).iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports.map(port_mapping).collect()
}

fn port_mapping(port: &ContainerPort) -> PortMapping {
    let protocol = match port.protocol.as_deref() {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    };
    PortMapping {
        protocol: protocol as i32,
        container_port: port.container_port,
        host_port: port.host_port.unwrap_or(0),
        host_ip: port.host_ip.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A pod `shop/web` with this spec.
    #[expect(clippy::needless_pass_by_value, reason = "tests write the spec in place")]
    pub(crate) fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u-1"}, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn a_sandbox_carries_identity_ports_and_sysctls() {
        let pod = pod(json!({
            "securityContext": {"sysctls": [{"name": "net.ipv4.ip_forward", "value": "1"}]},
            "containers": [{"name": "c", "ports": [{"containerPort": 53, "hostPort": 5353, "protocol": "UDP"}]}],
        }));
        let paths = Paths::new("/var/lib/kubelet", "/var/log/pods");
        let config = config(&pod, 2, "/kubepods", &DnsSettings::default(), &paths);
        assert_eq!(config.metadata.as_ref().unwrap().attempt, 2);
        assert_eq!(config.log_directory, "/var/log/pods/shop_web_u-1");
        assert_eq!(config.hostname, "web");
        assert_eq!((config.port_mappings[0].host_port, config.port_mappings[0].protocol), (5353, 1));
        assert_eq!(config.labels["io.kubernetes.pod.uid"], "u-1");
        assert_eq!(config.linux.unwrap().sysctls["net.ipv4.ip_forward"], "1");
    }

    #[test]
    fn a_pod_on_the_nodes_network_maps_no_ports() {
        let pod = pod(
            json!({"hostNetwork": true, "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}),
        );
        let config = config(&pod, 0, "", &DnsSettings::default(), &Paths::new("/a", "/b"));
        assert!(config.port_mappings.is_empty() && config.hostname.is_empty());
    }
}
