//! How the fake answers each question.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::ready;
use futures::{FutureExt, StreamExt};
use tokio_stream::wrappers::BroadcastStream;

use super::{FakeRuntime, fake_image};
use crate::api::{
    AttachRequest, AuthConfig, Container, ContainerAttributes, ContainerConfig, ContainerEventType, ContainerState,
    ContainerStats, ContainerStatus, ExecRequest, ExecSyncResponse, FilesystemUsage, Image, MemoryUsage, PodSandbox,
    PodSandboxConfig, PodSandboxNetworkStatus, PodSandboxState, PodSandboxStats, PodSandboxStatus, PortForwardRequest,
    RuntimeCondition, UInt64Value, VersionResponse,
};
use crate::{CriError, Events, Images, Labels, Reply, Runtime};

fn matches(labels: &Labels, of: &HashMap<String, String>) -> bool {
    labels.iter().all(|(key, value)| of.get(key) == Some(value))
}

fn absent(call: &'static str, id: &str) -> CriError {
    CriError::NotFound { call, message: id.to_owned() }
}

fn reply<'a, T: Send + 'a>(result: Result<T, CriError>) -> Reply<'a, T> {
    ready(result).boxed()
}

impl Runtime for FakeRuntime {
    fn version(&self) -> Reply<'_, VersionResponse> {
        reply(self.record("version", "").map(|_| VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "fake".to_owned(),
            runtime_version: "1".to_owned(),
            runtime_api_version: "v1".to_owned(),
        }))
    }

    fn status(&self) -> Reply<'_, Vec<RuntimeCondition>> {
        reply(self.record("status", "").map(|state| {
            let condition = |(name, status): (&&str, &bool)| RuntimeCondition {
                r#type: (*name).to_owned(),
                status: *status,
                ..Default::default()
            };
            state.conditions.iter().map(condition).collect()
        }))
    }

    fn update_pod_cidr(&self, pod_cidr: String) -> Reply<'_, ()> {
        reply(self.record("update_pod_cidr", &pod_cidr).map(|mut state| {
            state.conditions.insert("NetworkReady", true);
            state.pod_cidr = Some(pod_cidr);
        }))
    }

    fn run_pod_sandbox(&self, config: PodSandboxConfig, _: String) -> Reply<'_, String> {
        let name = config.metadata.clone().unwrap_or_default().name;
        let created = self.record("run_pod_sandbox", &name).map(|mut state| {
            let created_at = state.tick();
            let number = state.sandboxes.len() + 1;
            let id = format!("sandbox-{number}-{name}");
            let status = PodSandboxStatus {
                id: id.clone(),
                metadata: config.metadata.clone(),
                state: PodSandboxState::SandboxReady as i32,
                created_at,
                network: Some(PodSandboxNetworkStatus { ip: format!("10.244.0.{number}"), additional_ips: Vec::new() }),
                labels: config.labels.clone(),
                annotations: config.annotations.clone(),
                ..Default::default()
            };
            state.sandboxes.insert(id.clone(), (status, config));
            id
        });
        if let Ok(id) = &created {
            self.emit(id, id, ContainerEventType::ContainerStartedEvent);
        }
        reply(created)
    }

    fn stop_pod_sandbox(&self, id: String) -> Reply<'_, ()> {
        reply(self.record("stop_pod_sandbox", &id).map(|mut state| {
            let now = state.tick();
            if let Some((status, _)) = state.sandboxes.get_mut(&id) {
                status.state = PodSandboxState::SandboxNotready as i32;
            }
            let inside: Vec<String> = state
                .containers
                .iter()
                .filter(|(_, (_, _, sandbox))| *sandbox == id)
                .map(|(id, _)| id.clone())
                .collect();
            for container in inside {
                state.end(&container, 137, now);
            }
        }))
    }

    fn remove_pod_sandbox(&self, id: String) -> Reply<'_, ()> {
        reply(self.record("remove_pod_sandbox", &id).map(|mut state| {
            state.sandboxes.remove(&id);
            state.containers.retain(|_, (_, _, sandbox)| *sandbox != id);
        }))
    }

    fn pod_sandbox_status(&self, id: String) -> Reply<'_, PodSandboxStatus> {
        reply(self.record("pod_sandbox_status", &id).and_then(|state| {
            state.sandboxes.get(&id).map(|(status, _)| status.clone()).ok_or_else(|| absent("pod_sandbox_status", &id))
        }))
    }

    fn list_pod_sandboxes(&self, labels: Labels) -> Reply<'_, Vec<PodSandbox>> {
        reply(self.record("list_pod_sandboxes", "").map(|state| {
            let found = state.sandboxes.values().filter(|(status, _)| matches(&labels, &status.labels));
            let item = |(status, _): &(PodSandboxStatus, PodSandboxConfig)| PodSandbox {
                id: status.id.clone(),
                metadata: status.metadata.clone(),
                state: status.state,
                created_at: status.created_at,
                labels: status.labels.clone(),
                annotations: status.annotations.clone(),
                runtime_handler: String::new(),
            };
            found.map(item).collect()
        }))
    }

    fn create_container(&self, sandbox: String, config: ContainerConfig, _: PodSandboxConfig) -> Reply<'_, String> {
        let name = config.metadata.clone().unwrap_or_default().name;
        let created = self.record("create_container", &name).and_then(|mut state| {
            if !state.sandboxes.contains_key(&sandbox) {
                return Err(absent("create_container", &sandbox));
            }
            let created_at = state.tick();
            let id = format!("container-{created_at}-{name}");
            let status = ContainerStatus {
                id: id.clone(),
                metadata: config.metadata.clone(),
                state: ContainerState::ContainerCreated as i32,
                created_at,
                image: config.image.clone(),
                image_ref: config.image.clone().unwrap_or_default().image,
                labels: config.labels.clone(),
                annotations: config.annotations.clone(),
                mounts: config.mounts.clone(),
                log_path: config.log_path.clone(),
                ..Default::default()
            };
            state.containers.insert(id.clone(), (status, config, sandbox));
            Ok(id)
        });
        reply(created)
    }

    fn start_container(&self, id: String) -> Reply<'_, ()> {
        let name = id.rsplit('-').next().unwrap_or_default().to_owned();
        let started = self.record("start_container", &name).and_then(|mut state| {
            let now = state.tick();
            let (status, _, sandbox) = state.containers.get_mut(&id).ok_or_else(|| absent("start_container", &id))?;
            status.state = ContainerState::ContainerRunning as i32;
            status.started_at = now;
            Ok(sandbox.clone())
        });
        if let Ok(sandbox) = &started {
            self.emit(&id, sandbox, ContainerEventType::ContainerStartedEvent);
        }
        reply(started.map(drop))
    }

    fn stop_container(&self, id: String, _: Duration) -> Reply<'_, ()> {
        let name = id.rsplit('-').next().unwrap_or_default().to_owned();
        let stopped = self.record("stop_container", &name).map(|mut state| {
            let now = state.tick();
            state.end(&id, 143, now)
        });
        if let Ok(Some(sandbox)) = &stopped {
            self.emit(&id, sandbox, ContainerEventType::ContainerStoppedEvent);
        }
        reply(stopped.map(drop))
    }

    fn remove_container(&self, id: String) -> Reply<'_, ()> {
        reply(self.record("remove_container", &id).map(|mut state| {
            state.containers.remove(&id);
        }))
    }

    fn list_containers(&self, labels: Labels) -> Reply<'_, Vec<Container>> {
        reply(self.record("list_containers", "").map(|state| {
            let found = state.containers.values().filter(|(status, _, _)| matches(&labels, &status.labels));
            let item = |(status, _, sandbox): &(ContainerStatus, ContainerConfig, String)| Container {
                id: status.id.clone(),
                pod_sandbox_id: sandbox.clone(),
                metadata: status.metadata.clone(),
                image: status.image.clone(),
                state: status.state,
                created_at: status.created_at,
                labels: status.labels.clone(),
                annotations: status.annotations.clone(),
                ..Default::default()
            };
            found.map(item).collect()
        }))
    }

    fn container_status(&self, id: String) -> Reply<'_, ContainerStatus> {
        reply(self.record("container_status", &id).and_then(|state| {
            state
                .containers
                .get(&id)
                .map(|(status, _, _)| status.clone())
                .ok_or_else(|| absent("container_status", &id))
        }))
    }

    fn reopen_container_log(&self, id: String) -> Reply<'_, ()> {
        reply(self.record("reopen_container_log", &id).map(drop))
    }

    fn exec_sync(&self, _: String, command: Vec<String>, _: Duration) -> Reply<'_, ExecSyncResponse> {
        reply(
            self.record("exec_sync", &command.join(" "))
                .map(|state| state.exec.as_ref().map(|exec| exec(&command)).unwrap_or_default()),
        )
    }

    fn exec(&self, request: ExecRequest) -> Reply<'_, String> {
        reply(
            self.record("exec", &request.cmd.join(" "))
                .map(|_| format!("http://127.0.0.1:0/exec/{}", request.container_id)),
        )
    }

    fn attach(&self, request: AttachRequest) -> Reply<'_, String> {
        reply(
            self.record("attach", &request.container_id)
                .map(|_| format!("http://127.0.0.1:0/attach/{}", request.container_id)),
        )
    }

    fn port_forward(&self, request: PortForwardRequest) -> Reply<'_, String> {
        reply(
            self.record("port_forward", &request.pod_sandbox_id)
                .map(|_| format!("http://127.0.0.1:0/portforward/{}", request.pod_sandbox_id)),
        )
    }

    fn list_container_stats(&self) -> Reply<'_, Vec<ContainerStats>> {
        reply(self.record("list_container_stats", "").map(|state| {
            let stats = state.containers.values().map(|(status, _, _)| {
                let bytes = status.labels.values().find_map(|label| state.memory.get(label)).copied().unwrap_or(0);
                let attributes = ContainerAttributes {
                    id: status.id.clone(),
                    labels: status.labels.clone(),
                    ..ContainerAttributes::default()
                };
                let memory =
                    MemoryUsage { working_set_bytes: Some(UInt64Value { value: bytes }), ..MemoryUsage::default() };
                ContainerStats { attributes: Some(attributes), memory: Some(memory), ..ContainerStats::default() }
            });
            stats.collect()
        }))
    }

    fn list_pod_sandbox_stats(&self) -> Reply<'_, Vec<PodSandboxStats>> {
        reply(self.record("list_pod_sandbox_stats", "").map(|_| Vec::new()))
    }

    fn events(&self) -> Reply<'_, Events> {
        let stream =
            BroadcastStream::new(self.events.subscribe()).filter_map(|event| ready(event.ok().map(Ok))).boxed();
        reply(self.record("events", "").map(|_| stream))
    }
}

impl Images for FakeRuntime {
    fn image_status(&self, image: String) -> Reply<'_, Option<Image>> {
        reply(self.record("image_status", &image).map(|state| state.images.get(&image).cloned()))
    }

    fn list_images(&self) -> Reply<'_, Vec<Image>> {
        reply(self.record("list_images", "").map(|state| state.images.values().cloned().collect()))
    }

    fn pull_image(&self, image: String, _: Option<AuthConfig>, _: PodSandboxConfig) -> Reply<'_, String> {
        reply(self.record("pull_image", &image).and_then(|mut state| {
            if !state.registry.contains(&image) {
                return Err(absent("pull_image", &image));
            }
            let pulled = fake_image(&image);
            let reference = pulled.id.clone();
            state.images.insert(image, pulled);
            Ok(reference)
        }))
    }

    fn remove_image(&self, image: String) -> Reply<'_, ()> {
        reply(self.record("remove_image", &image).map(|mut state| {
            state.images.retain(|name, known| *name != image && known.id != image);
        }))
    }

    fn image_fs_info(&self) -> Reply<'_, Vec<FilesystemUsage>> {
        reply(self.record("image_fs_info", "").map(|_| Vec::new()))
    }
}
