//! Where the kubelet keeps its files; the places are upstream's, because people and log collectors know them.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::pod::identity;

/// The folders of this kubelet.
#[derive(Debug, Clone)]
pub struct Paths {
    root: PathBuf,
    logs: PathBuf,
}

impl Paths {
    /// `root` holds volumes and pod files, `logs` the output of containers.
    pub fn new(root: impl Into<PathBuf>, logs: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), logs: logs.into() }
    }

    /// The folder of all pods.
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// The folder of one pod.
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    /// The folder of one volume of a pod.
    pub fn volume(&self, uid: &str, plugin: &str, name: &str) -> PathBuf {
        self.pod(uid).join("volumes").join(format!("kubernetes.io~{plugin}")).join(name)
    }

    /// The hosts file that containers of the pod see.
    pub fn hosts_file(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("etc-hosts")
    }

    /// The folder for files of one container, such as its termination message.
    pub fn container(&self, uid: &str, container: &str) -> PathBuf {
        self.pod(uid).join("containers").join(container)
    }

    /// Where certificates and keys of the kubelet lie by default.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// The root of container logs.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The folder of the logs of one pod.
    pub fn pod_logs(&self, pod: &Pod) -> PathBuf {
        self.logs.join(format!("{}_{}_{}", identity::namespace(pod), identity::name(pod), identity::uid(pod)))
    }

    /// The log file of one run of a container.
    pub fn container_log(&self, pod: &Pod, container: &str, attempt: u32) -> PathBuf {
        self.pod_logs(pod).join(container_log_path(container, attempt))
    }
}

/// The log file of one run of a container, below the pod's log folder.
pub fn container_log_path(container: &str, attempt: u32) -> String {
    format!("{container}/{attempt}.log")
}
