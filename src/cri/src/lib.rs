//! Containers and images behind the Container Runtime Interface (CRI v1).
//!
//! [`Runtime`] is what the kubelet asks of a runtime; [`Client`] speaks it over a Unix socket to containerd or
//! CRI-O; [`fake::FakeRuntime`] keeps everything in memory and records what it was asked, for fast tests.
//!
//! This crate never knows a pod, a policy or a retry: it carries one request and brings back one answer.
//!
//! Reading order: [`Runtime`] and [`Images`] (the questions), `client.rs` (the wire), `fake.rs` (the stand-in).

mod client;
pub mod fake;

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

pub use client::Client;
/// The CRI v1 messages, as generated from the published protocol description.
pub use k8s_cri::v1 as api;

use api::{
    AttachRequest, Container, ContainerConfig, ContainerEventResponse, ContainerStats, ContainerStatus, ExecRequest,
    ExecSyncResponse, FilesystemUsage, Image, PodSandbox, PodSandboxConfig, PodSandboxStats, PodSandboxStatus,
    PortForwardRequest, RuntimeCondition, VersionResponse,
};

/// Why a runtime did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CriError {
    /// The endpoint is not one that can be dialled.
    #[error("container runtime endpoint {endpoint:?} is not a unix socket")]
    Endpoint {
        /// The endpoint as configured.
        endpoint: String,
    },
    /// Nobody answers on the socket.
    #[error("container runtime is unreachable: {message}")]
    Unreachable {
        /// What the transport said.
        message: String,
    },
    /// The call is not known to this runtime (an older version).
    #[error("container runtime does not offer {call}")]
    Unsupported {
        /// The name of the call.
        call: &'static str,
    },
    /// The named sandbox, container or image does not exist.
    #[error("{call}: not found: {message}")]
    NotFound {
        /// The name of the call.
        call: &'static str,
        /// What the runtime said.
        message: String,
    },
    /// The call took longer than it may.
    #[error("{call}: no answer in time")]
    Timeout {
        /// The name of the call.
        call: &'static str,
    },
    /// The runtime refused or failed.
    #[error("{call}: {message}")]
    Failed {
        /// The name of the call.
        call: &'static str,
        /// What the runtime said.
        message: String,
    },
}

impl CriError {
    /// Whether the thing that was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// The answer of a runtime, some time later.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, CriError>>;

/// What a runtime says when a container changes state.
pub type Events = BoxStream<'static, Result<ContainerEventResponse, CriError>>;

/// Selects sandboxes or containers by label; empty selects all.
pub type Labels = std::collections::HashMap<String, String>;

/// Credentials for a registry.
pub use api::AuthConfig;

/// Pod sandboxes and containers.
pub trait Runtime: Images {
    /// Name and version of the runtime.
    fn version(&self) -> Reply<'_, VersionResponse>;
    /// The conditions `RuntimeReady` and `NetworkReady`, and more if the runtime has them.
    fn status(&self) -> Reply<'_, Vec<RuntimeCondition>>;
    /// Tells the runtime from which range pods get their addresses.
    fn update_pod_cidr(&self, pod_cidr: String) -> Reply<'_, ()>;
    /// Creates and starts a sandbox; answers its id.
    fn run_pod_sandbox(&self, config: PodSandboxConfig, handler: String) -> Reply<'_, String>;
    /// Stops every process of a sandbox and gives its network back; harmless when repeated.
    fn stop_pod_sandbox(&self, id: String) -> Reply<'_, ()>;
    /// Removes a sandbox with its containers; harmless when repeated.
    fn remove_pod_sandbox(&self, id: String) -> Reply<'_, ()>;
    /// State and addresses of one sandbox.
    fn pod_sandbox_status(&self, id: String) -> Reply<'_, PodSandboxStatus>;
    /// The sandboxes with these labels.
    fn list_pod_sandboxes(&self, labels: Labels) -> Reply<'_, Vec<PodSandbox>>;
    /// Creates a container in a sandbox; answers its id.
    fn create_container(
        &self,
        sandbox: String,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Reply<'_, String>;
    /// Starts a created container.
    fn start_container(&self, id: String) -> Reply<'_, ()>;
    /// Asks a container to end, and ends it after `grace`; harmless when repeated.
    fn stop_container(&self, id: String, grace: Duration) -> Reply<'_, ()>;
    /// Removes a container; harmless when repeated.
    fn remove_container(&self, id: String) -> Reply<'_, ()>;
    /// The containers with these labels.
    fn list_containers(&self, labels: Labels) -> Reply<'_, Vec<Container>>;
    /// Everything known about one container.
    fn container_status(&self, id: String) -> Reply<'_, ContainerStatus>;
    /// Opens the log file of a container anew, after it was rotated.
    fn reopen_container_log(&self, id: String) -> Reply<'_, ()>;
    /// Runs a command in a container and waits for it; a zero `timeout` waits for ever.
    fn exec_sync(&self, id: String, command: Vec<String>, timeout: Duration) -> Reply<'_, ExecSyncResponse>;
    /// Prepares a command in a container; answers the address of its stream.
    fn exec(&self, request: ExecRequest) -> Reply<'_, String>;
    /// Prepares a connection to a container's main process; answers the address of its stream.
    fn attach(&self, request: AttachRequest) -> Reply<'_, String>;
    /// Prepares connections to ports of a sandbox; answers the address of their stream.
    fn port_forward(&self, request: PortForwardRequest) -> Reply<'_, String>;
    /// Use of CPU, memory and disk of each container.
    fn list_container_stats(&self) -> Reply<'_, Vec<ContainerStats>>;
    /// Use of CPU, memory and network of each sandbox.
    fn list_pod_sandbox_stats(&self) -> Reply<'_, Vec<PodSandboxStats>>;
    /// Changes of container states from now on.
    fn events(&self) -> Reply<'_, Events>;
}

/// Images on the node.
pub trait Images: Send + Sync + 'static {
    /// The image of this name, if the node has it.
    fn image_status(&self, image: String) -> Reply<'_, Option<Image>>;
    /// Every image of the node.
    fn list_images(&self) -> Reply<'_, Vec<Image>>;
    /// Fetches an image; answers the reference that containers use.
    fn pull_image(&self, image: String, auth: Option<AuthConfig>, sandbox: PodSandboxConfig) -> Reply<'_, String>;
    /// Removes an image.
    fn remove_image(&self, image: String) -> Reply<'_, ()>;
    /// Use of the file systems that hold images.
    fn image_fs_info(&self) -> Reply<'_, Vec<FilesystemUsage>>;
}
