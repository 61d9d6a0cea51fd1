//! A runtime in memory: it keeps sandboxes and containers, records every call, and tells of changes as events.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::CriError;
use crate::api::{
    ContainerConfig, ContainerEventResponse, ContainerEventType, ContainerState, ContainerStatus, ExecSyncResponse,
    Image, ImageSpec, PodSandboxConfig, PodSandboxState, PodSandboxStatus,
};

mod answers;

/// What a fake container answers to `exec_sync`.
type Exec = Box<dyn Fn(&[String]) -> ExecSyncResponse + Send + Sync>;

/// The stand-in for a runtime.
pub struct FakeRuntime {
    state: Mutex<State>,
    events: broadcast::Sender<ContainerEventResponse>,
}

#[derive(Default)]
struct State {
    clock: i64,
    calls: Vec<String>,
    failures: HashMap<&'static str, String>,
    conditions: BTreeMap<&'static str, bool>,
    images: BTreeMap<String, Image>,
    registry: Vec<String>,
    sandboxes: BTreeMap<String, (PodSandboxStatus, PodSandboxConfig)>,
    containers: BTreeMap<String, (ContainerStatus, ContainerConfig, String)>,
    memory: BTreeMap<String, u64>,
    pod_cidr: Option<String>,
    exec: Option<Exec>,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        let state = State { conditions: [("RuntimeReady", true), ("NetworkReady", true)].into(), ..State::default() };
        Self { state: Mutex::new(state), events: broadcast::channel(1024).0 }
    }
}

impl FakeRuntime {
    /// An empty runtime that is ready and has no image.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an image on the node.
    pub fn add_image(&self, name: &str) {
        let image = fake_image(name);
        self.lock().images.insert(name.to_owned(), image);
    }

    /// Puts an image on the node that came from no registry.
    pub fn import_image(&self, name: &str) {
        let image = Image { repo_digests: Vec::new(), ..fake_image(name) };
        self.lock().images.insert(name.to_owned(), image);
    }

    /// Lets pulls of `name` succeed.
    pub fn publish_image(&self, name: &str) {
        self.lock().registry.push(name.to_owned());
    }

    /// Every call so far, as `method argument`.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// Makes the named call fail with `message` until [`Self::mend`].
    pub fn fail(&self, call: &'static str, message: &str) {
        self.lock().failures.insert(call, message.to_owned());
    }

    /// Lets the named call succeed again.
    pub fn mend(&self, call: &'static str) {
        self.lock().failures.remove(call);
    }

    /// Sets a condition of the runtime.
    pub fn set_condition(&self, name: &'static str, status: bool) {
        self.lock().conditions.insert(name, status);
    }

    /// The range that was given for pods.
    pub fn pod_cidr(&self) -> Option<String> {
        self.lock().pod_cidr.clone()
    }

    /// Lets the containers of a pod, found by its uid in any label, use so many bytes of memory each.
    pub fn use_memory(&self, uid: &str, bytes: u64) {
        self.lock().memory.insert(uid.to_owned(), bytes);
    }

    /// Decides what commands in containers answer.
    pub fn on_exec(&self, answer: impl Fn(&[String]) -> ExecSyncResponse + Send + Sync + 'static) {
        self.lock().exec = Some(Box::new(answer));
    }

    /// The configurations of all containers, by id.
    pub fn container_configs(&self) -> Vec<(String, ContainerConfig)> {
        self.lock().containers.iter().map(|(id, (_, config, _))| (id.clone(), config.clone())).collect()
    }

    /// The configurations of all sandboxes, by id.
    pub fn sandbox_configs(&self) -> Vec<(String, PodSandboxConfig)> {
        self.lock().sandboxes.iter().map(|(id, (_, config))| (id.clone(), config.clone())).collect()
    }

    /// Ids of the running containers of this name.
    pub fn running(&self, container: &str) -> Vec<String> {
        let state = self.lock();
        let found = state.containers.values().filter(|(status, config, _)| {
            status.state == ContainerState::ContainerRunning as i32
                && config.metadata.as_ref().is_some_and(|metadata| metadata.name == container)
        });
        found.map(|(status, _, _)| status.id.clone()).collect()
    }

    /// Ends a container as if its process had exited.
    pub fn exit(&self, id: &str, exit_code: i32) {
        let mut state = self.lock();
        let now = state.tick();
        let sandbox = state.end(id, exit_code, now);
        drop(state);
        if let Some(sandbox) = sandbox {
            self.emit(id, &sandbox, ContainerEventType::ContainerStoppedEvent);
        }
    }

    /// Ends a sandbox as if its pause process had died.
    pub fn kill_sandbox(&self, id: &str) {
        let mut state = self.lock();
        if let Some((status, _)) = state.sandboxes.get_mut(id) {
            status.state = PodSandboxState::SandboxNotready as i32;
        }
        drop(state);
        self.emit(id, id, ContainerEventType::ContainerStoppedEvent);
    }

    fn emit(&self, container: &str, sandbox: &str, kind: ContainerEventType) {
        let state = self.lock();
        let event = ContainerEventResponse {
            container_id: container.to_owned(),
            container_event_type: kind as i32,
            created_at: state.clock,
            pod_sandbox_status: state.sandboxes.get(sandbox).map(|(status, _)| status.clone()),
            containers_statuses: Vec::new(),
        };
        drop(state);
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a call and answers what it was told to fail with, if anything.
    fn record(&self, call: &'static str, argument: &str) -> Result<MutexGuard<'_, State>, CriError> {
        let mut state = self.lock();
        state.calls.push(format!("{call} {argument}").trim_end().to_owned());
        match state.failures.get(call) {
            Some(message) => Err(CriError::Failed { call, message: message.clone() }),
            None => Ok(state),
        }
    }
}

impl State {
    fn tick(&mut self) -> i64 {
        self.clock += 1_000_000;
        now_nanos() + self.clock
    }

    fn end(&mut self, id: &str, exit_code: i32, now: i64) -> Option<String> {
        let (status, _, sandbox) = self.containers.get_mut(id)?;
        if status.state != ContainerState::ContainerRunning as i32 {
            return None;
        }
        status.state = ContainerState::ContainerExited as i32;
        status.exit_code = exit_code;
        status.finished_at = now;
        if exit_code == 0 { "Completed" } else { "Error" }.clone_into(&mut status.reason);
        Some(sandbox.clone())
    }
}

fn now_nanos() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn fake_image(name: &str) -> Image {
    Image {
        id: format!("sha256:{name}"),
        repo_tags: vec![name.to_owned()],
        repo_digests: vec![format!("{name}@sha256:0")],
        size: 1,
        spec: Some(ImageSpec { image: name.to_owned(), ..Default::default() }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::Runtime;
    use crate::api::{ContainerMetadata, PodSandboxMetadata};

    #[tokio::test]
    async fn a_container_lives_and_its_end_is_told() {
        let runtime = FakeRuntime::new();
        let mut events = runtime.events().await.unwrap();
        let metadata =
            PodSandboxMetadata { name: "p".to_owned(), uid: "u".to_owned(), namespace: "n".to_owned(), attempt: 0 };
        let sandbox_config = PodSandboxConfig { metadata: Some(metadata), ..Default::default() };
        let sandbox = runtime.run_pod_sandbox(sandbox_config.clone(), String::new()).await.unwrap();
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: "c".to_owned(), attempt: 0 }),
            ..Default::default()
        };
        let id = runtime.create_container(sandbox, config, sandbox_config).await.unwrap();
        runtime.start_container(id.clone()).await.unwrap();
        assert_eq!(runtime.running("c"), std::slice::from_ref(&id));
        runtime.exit(&id, 3);
        assert_eq!(runtime.container_status(id).await.unwrap().exit_code, 3);
        let kinds: Vec<i32> = events.by_ref().take(3).map(|event| event.unwrap().container_event_type).collect().await;
        assert_eq!(kinds, [1, 1, 2]);
    }

    #[tokio::test]
    async fn a_failure_lasts_until_it_is_mended() {
        let runtime = FakeRuntime::new();
        runtime.fail("status", "down");
        assert!(runtime.status().await.is_err());
        runtime.mend("status");
        assert!(runtime.status().await.is_ok());
    }
}
