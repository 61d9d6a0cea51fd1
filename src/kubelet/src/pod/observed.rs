//! What the runtime shows of a pod.

use std::collections::HashMap;
use std::path::Path;

use cri::api::{ContainerState, ContainerStatus, PodSandboxState, PodSandboxStatus};
use cri::{CriError, Runtime};
use futures::future::try_join_all;

use super::identity;
use crate::log_file;

/// Upstream cuts termination messages here.
const MESSAGE_LIMIT: usize = 4096;
/// How much of a log stands in for a termination message.
const LOG_LINES: usize = 80;
const LOG_LIMIT: usize = 2048;

/// A container and the sandbox it is in.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The id of the sandbox.
    pub sandbox: String,
    /// What the runtime says of the container.
    pub status: ContainerStatus,
}

impl Seen {
    /// The container's name in the pod.
    pub fn name(&self) -> &str {
        self.status
            .labels
            .get(identity::CONTAINER_NAME)
            .map_or_else(|| self.status.metadata.as_ref().map_or("", |metadata| metadata.name.as_str()), String::as_str)
    }

    /// Whether its process runs.
    pub fn running(&self) -> bool {
        self.status.state == ContainerState::ContainerRunning as i32
    }

    /// Whether its process has ended.
    pub fn exited(&self) -> bool {
        self.status.state == ContainerState::ContainerExited as i32
    }

    /// Whether its process has ended well.
    pub fn succeeded(&self) -> bool {
        self.exited() && self.status.exit_code == 0
    }

    /// How often it was started before.
    pub fn attempt(&self) -> u32 {
        self.status.metadata.as_ref().map_or(0, |metadata| metadata.attempt)
    }

    /// An annotation given at creation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.status.annotations.get(key).map(String::as_str)
    }
}

/// Sandboxes and containers of one pod, newest first.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Its sandboxes.
    pub sandboxes: Vec<PodSandboxStatus>,
    /// Its containers, of all runs that still exist.
    pub containers: Vec<Seen>,
    /// Termination messages by container id.
    pub messages: HashMap<String, String>,
}

impl Observed {
    /// The newest sandbox, if it is ready.
    pub fn sandbox(&self) -> Option<&PodSandboxStatus> {
        self.sandboxes.first().filter(|sandbox| ready(sandbox))
    }

    /// The last run of a container.
    pub fn latest(&self, name: &str) -> Option<&Seen> {
        self.containers.iter().find(|seen| seen.name() == name)
    }

    /// The run before the last.
    pub fn previous(&self, name: &str) -> Option<&Seen> {
        self.containers.iter().filter(|seen| seen.name() == name).nth(1)
    }

    /// Addresses of the pod's own network.
    pub fn pod_ips(&self) -> Vec<String> {
        let Some(network) = self.sandbox().and_then(|sandbox| sandbox.network.as_ref()) else {
            return Vec::new();
        };
        let more = network.additional_ips.iter().map(|address| address.ip.clone());
        std::iter::once(network.ip.clone()).chain(more).filter(|ip| !ip.is_empty()).collect()
    }

    /// Whether any process of the pod may still run.
    pub fn alive(&self) -> bool {
        self.sandboxes.iter().any(ready) || self.containers.iter().any(Seen::running)
    }
}

/// Whether a sandbox is ready.
pub fn ready(sandbox: &PodSandboxStatus) -> bool {
    sandbox.state == PodSandboxState::SandboxReady as i32
}

/// Asks the runtime for everything of one pod; `logs` is the pod's log folder.
pub async fn observe(runtime: &dyn Runtime, uid: &str, logs: &Path) -> Result<Observed, CriError> {
    let (sandboxes, containers) = futures::try_join!(
        runtime.list_pod_sandboxes(identity::selector(uid)),
        runtime.list_containers(identity::selector(uid))
    )?;
    let sandboxes = try_join_all(sandboxes.into_iter().map(|sandbox| present(runtime.pod_sandbox_status(sandbox.id))));
    let containers = try_join_all(containers.into_iter().map(|container| async move {
        let status = present(runtime.container_status(container.id)).await?;
        Ok::<_, CriError>(status.map(|status| Seen { sandbox: container.pod_sandbox_id, status }))
    }));
    let (sandboxes, containers) = futures::try_join!(sandboxes, containers)?;
    let mut observed = Observed {
        sandboxes: sandboxes.into_iter().flatten().collect(),
        containers: containers.into_iter().flatten().collect(),
        ..Observed::default()
    };
    observed.sandboxes.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.created_at));
    observed.containers.sort_by_key(|seen| std::cmp::Reverse(seen.status.created_at));
    let ended = observed.containers.iter().filter(|seen| seen.exited());
    observed.messages = ended.filter_map(|seen| Some((seen.status.id.clone(), message(seen, logs)?))).collect();
    Ok(observed)
}

/// What vanished between two questions is not an error.
async fn present<T>(reply: cri::Reply<'_, T>) -> Result<Option<T>, CriError> {
    match reply.await {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn message(seen: &Seen, logs: &Path) -> Option<String> {
    let path = seen.annotation(identity::TERMINATION_MESSAGE_PATH).filter(|path| !path.is_empty())?;
    let own = std::fs::read(path).ok().filter(|data| !data.is_empty());
    if let Some(data) = own {
        return Some(String::from_utf8_lossy(&data[..data.len().min(MESSAGE_LIMIT)]).into_owned());
    }
    let from_log = seen.annotation(identity::TERMINATION_MESSAGE_POLICY) == Some("FallbackToLogsOnError")
        && seen.status.exit_code != 0;
    if !from_log {
        return None;
    }
    let log = logs.join(crate::paths::container_log_path(seen.name(), seen.attempt()));
    log_file::last_lines(&log, LOG_LINES, LOG_LIMIT).ok().filter(|text| !text.is_empty())
}
