//! The wire: gRPC over a Unix socket.

use std::path::PathBuf;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Response, Status};

use crate::api;
use crate::api::image_service_client::ImageServiceClient;
use crate::api::runtime_service_client::RuntimeServiceClient;
use crate::{CriError, Events, Labels, Reply, Runtime};

/// One unary call with its time limit, mapped by `$then` from the response message.
macro_rules! call {
    ($self:ident . $service:ident . $method:ident ($request:expr), $limit:expr, $then:expr) => {{
        let mut service = $self.$service.clone();
        let request = $request;
        async move {
            const NAME: &str = stringify!($method);
            match tokio::time::timeout($limit, service.$method(request)).await {
                Ok(Ok(response)) => ($then)(Response::into_inner(response)),
                Ok(Err(status)) => Err(error(NAME, &status)),
                Err(_) => Err(CriError::Timeout { call: NAME }),
            }
        }
        .boxed()
    }};
}
mod images;

/// How long an ordinary call may take.
const CALL: Duration = Duration::from_mins(2);
/// Starting a sandbox includes the network set-up, which may wait for other nodes.
const SANDBOX: Duration = Duration::from_mins(4);
/// A large image over a slow line.
const PULL: Duration = Duration::from_hours(1);
/// Inspecting many containers at once gives answers beyond gRPC's default of 4 MiB.
const MESSAGE_LIMIT: usize = 16 << 20;

/// A runtime behind a Unix socket. It connects when it is first asked, and again after the runtime restarted.
#[derive(Clone, Debug)]
pub struct Client {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

impl Client {
    /// A client of `endpoint` (`unix:///path` or a path). It does not dial yet.
    pub fn new(endpoint: &str) -> Result<Self, CriError> {
        let path = socket_path(endpoint).ok_or_else(|| CriError::Endpoint { endpoint: endpoint.to_owned() })?;
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
        });
        // The authority is required by HTTP/2 and means nothing on a socket.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_LIMIT),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT),
        })
    }
}

fn socket_path(endpoint: &str) -> Option<PathBuf> {
    let path = endpoint.strip_prefix("unix://").or_else(|| endpoint.strip_prefix("unix:")).unwrap_or(endpoint);
    path.starts_with('/').then(|| PathBuf::from(path))
}

fn error(call: &'static str, status: &Status) -> CriError {
    let message = status.message().to_owned();
    match status.code() {
        Code::Unimplemented => CriError::Unsupported { call },
        Code::NotFound => CriError::NotFound { call, message },
        Code::DeadlineExceeded => CriError::Timeout { call },
        Code::Unavailable => CriError::Unreachable { message },
        // containerd answers Unknown for some absent things; the words are the only sign.
        _ if message.contains("not found") && !message.contains("executable file not found") => {
            CriError::NotFound { call, message }
        }
        _ => CriError::Failed { call, message },
    }
}

fn present<T>(value: Option<T>, call: &'static str) -> Result<T, CriError> {
    value.ok_or_else(|| CriError::NotFound { call, message: "the runtime answered nothing".to_owned() })
}

/// Absence is what removal wants.
fn gone(result: Result<(), CriError>) -> Result<(), CriError> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

impl Runtime for Client {
    fn version(&self) -> Reply<'_, api::VersionResponse> {
        call!(self.runtime.version(api::VersionRequest { version: "0.1.0".to_owned() }), CALL, Ok)
    }

    fn status(&self) -> Reply<'_, Vec<api::RuntimeCondition>> {
        call!(self.runtime.status(api::StatusRequest { verbose: false }), CALL, |answer: api::StatusResponse| Ok(
            answer.status.unwrap_or_default().conditions
        ))
    }

    fn update_pod_cidr(&self, pod_cidr: String) -> Reply<'_, ()> {
        let config = api::RuntimeConfig { network_config: Some(api::NetworkConfig { pod_cidr }) };
        call!(
            self.runtime.update_runtime_config(api::UpdateRuntimeConfigRequest { runtime_config: Some(config) }),
            CALL,
            |_| Ok(())
        )
    }

    fn run_pod_sandbox(&self, config: api::PodSandboxConfig, handler: String) -> Reply<'_, String> {
        let request = api::RunPodSandboxRequest { config: Some(config), runtime_handler: handler };
        call!(self.runtime.run_pod_sandbox(request), SANDBOX, |answer: api::RunPodSandboxResponse| Ok(
            answer.pod_sandbox_id
        ))
    }

    fn stop_pod_sandbox(&self, id: String) -> Reply<'_, ()> {
        call!(self.runtime.stop_pod_sandbox(api::StopPodSandboxRequest { pod_sandbox_id: id }), SANDBOX, |_| Ok(()))
            .map(gone)
            .boxed()
    }

    fn remove_pod_sandbox(&self, id: String) -> Reply<'_, ()> {
        call!(self.runtime.remove_pod_sandbox(api::RemovePodSandboxRequest { pod_sandbox_id: id }), CALL, |_| Ok(()))
            .map(gone)
            .boxed()
    }

    fn pod_sandbox_status(&self, id: String) -> Reply<'_, api::PodSandboxStatus> {
        let request = api::PodSandboxStatusRequest { pod_sandbox_id: id, verbose: false };
        call!(self.runtime.pod_sandbox_status(request), CALL, |answer: api::PodSandboxStatusResponse| present(
            answer.status,
            "pod_sandbox_status"
        ))
    }

    fn list_pod_sandboxes(&self, labels: Labels) -> Reply<'_, Vec<api::PodSandbox>> {
        let filter = api::PodSandboxFilter { label_selector: labels, ..Default::default() };
        call!(
            self.runtime.list_pod_sandbox(api::ListPodSandboxRequest { filter: Some(filter) }),
            CALL,
            |answer: api::ListPodSandboxResponse| { Ok(answer.items) }
        )
    }

    fn create_container(
        &self,
        sandbox: String,
        config: api::ContainerConfig,
        sandbox_config: api::PodSandboxConfig,
    ) -> Reply<'_, String> {
        let request = api::CreateContainerRequest {
            pod_sandbox_id: sandbox,
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        call!(self.runtime.create_container(request), CALL, |answer: api::CreateContainerResponse| Ok(
            answer.container_id
        ))
    }

    fn start_container(&self, id: String) -> Reply<'_, ()> {
        call!(self.runtime.start_container(api::StartContainerRequest { container_id: id }), CALL, |_| Ok(()))
    }

    fn stop_container(&self, id: String, grace: Duration) -> Reply<'_, ()> {
        let request = api::StopContainerRequest { container_id: id, timeout: whole_seconds(grace) };
        call!(self.runtime.stop_container(request), CALL + grace, |_| Ok(())).map(gone).boxed()
    }

    fn remove_container(&self, id: String) -> Reply<'_, ()> {
        call!(self.runtime.remove_container(api::RemoveContainerRequest { container_id: id }), CALL, |_| Ok(()))
            .map(gone)
            .boxed()
    }

    fn list_containers(&self, labels: Labels) -> Reply<'_, Vec<api::Container>> {
        let filter = api::ContainerFilter { label_selector: labels, ..Default::default() };
        call!(
            self.runtime.list_containers(api::ListContainersRequest { filter: Some(filter) }),
            CALL,
            |answer: api::ListContainersResponse| { Ok(answer.containers) }
        )
    }

    fn container_status(&self, id: String) -> Reply<'_, api::ContainerStatus> {
        let request = api::ContainerStatusRequest { container_id: id, verbose: false };
        call!(self.runtime.container_status(request), CALL, |answer: api::ContainerStatusResponse| present(
            answer.status,
            "container_status"
        ))
    }

    fn reopen_container_log(&self, id: String) -> Reply<'_, ()> {
        call!(self.runtime.reopen_container_log(api::ReopenContainerLogRequest { container_id: id }), CALL, |_| Ok(()))
    }

    fn exec_sync(&self, id: String, command: Vec<String>, timeout: Duration) -> Reply<'_, api::ExecSyncResponse> {
        // The runtime ends the command at its time limit; our own limit only guards against a dead runtime.
        let limit = if timeout.is_zero() { PULL } else { timeout + CALL };
        let request = api::ExecSyncRequest { container_id: id, cmd: command, timeout: whole_seconds(timeout) };
        call!(self.runtime.exec_sync(request), limit, Ok)
    }

    fn exec(&self, request: api::ExecRequest) -> Reply<'_, String> {
        call!(self.runtime.exec(request), CALL, |answer: api::ExecResponse| Ok(answer.url))
    }

    fn attach(&self, request: api::AttachRequest) -> Reply<'_, String> {
        call!(self.runtime.attach(request), CALL, |answer: api::AttachResponse| Ok(answer.url))
    }

    fn port_forward(&self, request: api::PortForwardRequest) -> Reply<'_, String> {
        call!(self.runtime.port_forward(request), CALL, |answer: api::PortForwardResponse| Ok(answer.url))
    }

    fn list_container_stats(&self) -> Reply<'_, Vec<api::ContainerStats>> {
        let request = api::ListContainerStatsRequest { filter: Some(api::ContainerStatsFilter::default()) };
        call!(self.runtime.list_container_stats(request), CALL, |answer: api::ListContainerStatsResponse| Ok(
            answer.stats
        ))
    }

    fn list_pod_sandbox_stats(&self) -> Reply<'_, Vec<api::PodSandboxStats>> {
        let request = api::ListPodSandboxStatsRequest { filter: Some(api::PodSandboxStatsFilter::default()) };
        call!(self.runtime.list_pod_sandbox_stats(request), CALL, |answer: api::ListPodSandboxStatsResponse| Ok(
            answer.stats
        ))
    }

    fn events(&self) -> Reply<'_, Events> {
        let mut service = self.runtime.clone();
        async move {
            // The first header may only arrive with the first event, so this call has no time limit of its own.
            let stream = service
                .get_container_events(api::GetEventsRequest {})
                .await
                .map_err(|status| error("get_container_events", &status))?;
            Ok(stream.into_inner().map(|event| event.map_err(|status| error("get_container_events", &status))).boxed())
        }
        .boxed()
    }
}

/// CRI counts in seconds; a part of a second rounds up so that a short grace is not none.
fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_with_and_without_scheme_name_a_socket() {
        for endpoint in ["unix:///run/c.sock", "unix:/run/c.sock", "/run/c.sock"] {
            assert_eq!(socket_path(endpoint), Some(PathBuf::from("/run/c.sock")), "{endpoint}");
        }
        assert_eq!(socket_path("tcp://127.0.0.1:1"), None);
    }

    #[test]
    fn absent_things_are_told_apart_from_absent_programs() {
        assert!(error("x", &Status::unknown("container \"a\": not found")).is_not_found());
        assert!(!error("x", &Status::unknown("exec: \"a\": executable file not found in $PATH")).is_not_found());
    }

    #[test]
    fn a_part_of_a_second_is_a_second() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::ZERO), 0);
    }
}
