//! Builds the scheduler from its configuration, waits to lead, and runs it.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use component_base::health::Checks;
use component_base::serving::{Listener, PeerCertificates};
use component_base::{client, metrics, tls};
use controller_runtime::{Informer, LeaderElector, Recorder};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bind::ApiBinder;
use crate::config::Config;
use crate::scheduler::{DEFAULT_NAME, News, Scheduler};

const USER_AGENT: &str = "kube-scheduler/v1.35.0";
/// Pods that have ended occupy nothing.
const LIVE_PODS: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Runs until the token is cancelled or the lease is lost.
pub async fn run(config: Config, token: CancellationToken) -> anyhow::Result<()> {
    let listener = Listener::bind(config.address).await?;
    let server = tokio::spawn(serve(listener, tls_config(&config)?, token.clone()));
    let api = match &config.kubeconfig {
        Some(path) => client::connect(path, USER_AGENT).await?,
        None => client::in_cluster(USER_AGENT).await?,
    };
    let outcome = match config.election.clone() {
        None => {
            work(config, api, token.clone()).await;
            Ok(())
        }
        Some(election) => {
            let elector = LeaderElector::new(api.clone(), &election.namespace, &election.name, &identity());
            let elector = elector.times(election.times);
            elector.run(token.clone(), |leading| work(config, api, leading)).await.context("leading")
        }
    };
    token.cancel();
    server.await.context("the server ended")?;
    outcome
}

/// A name nobody else has: two processes on one host must not both believe to lead.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{}", host.trim(), uuid::Uuid::new_v4())
}

async fn work(config: Config, api: Client, token: CancellationToken) {
    let (sender, news) = mpsc::unbounded_channel();
    let pods = Informer::<Pod>::new(Api::all(api.clone())).fields(LIVE_PODS).trim(trim_pod).start(token.clone());
    let nodes = Informer::<Node>::new(Api::all(api.clone())).trim(trim_node).start(token.clone());
    let namespaces = Informer::<Namespace>::new(Api::all(api.clone())).start(token.clone());
    tokio::select! {
        () = token.cancelled() => return,
        // Deciding on half a picture would overfill nodes.
        () = async { nodes.synced().await; namespaces.synced().await; pods.synced().await; } => {}
    }
    let to = sender.clone();
    nodes.on_event(move |event| drop(to.send(News::Node(event.clone()))));
    let to = sender.clone();
    namespaces.on_event(move |event| drop(to.send(News::Namespace(event.clone()))));
    let to = sender.clone();
    pods.on_event(move |event| drop(to.send(News::Pod(event.clone()))));
    let binder = ApiBinder::new(api.clone(), Recorder::new(api, DEFAULT_NAME, ""), sender);
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    tracing::info!(nodes = nodes.len(), pods = pods.len(), "scheduling");
    Scheduler::new(config.names, binder, seed).run(news, token).await;
}

fn trim_pod(pod: &mut Pod) {
    pod.metadata.annotations = None;
    for container in pod.spec.iter_mut().flat_map(|s| s.containers.iter_mut()) {
        (container.env, container.env_from, container.command, container.args) = (None, None, None, None);
        (container.liveness_probe, container.readiness_probe, container.startup_probe) = (None, None, None);
        (container.volume_mounts, container.lifecycle) = (None, None);
    }
    if let Some(status) = &mut pod.status {
        (status.container_statuses, status.init_container_statuses) = (None, None);
    }
}

fn trim_node(node: &mut Node) {
    node.metadata.annotations = None;
    if let Some(status) = &mut node.status {
        (status.conditions, status.volumes_in_use, status.volumes_attached) = (None, None, None);
    }
}

fn tls_config(config: &Config) -> anyhow::Result<Arc<tls::ServerConfig>> {
    Ok(match &config.tls {
        Some(files) => tls::server_config(files.clone())?,
        None => tls::self_signed_config(vec!["localhost".to_owned()], config.client_ca.clone())?,
    })
}

async fn serve(listener: Listener, config: Arc<tls::ServerConfig>, token: CancellationToken) {
    let checks = Arc::new(Checks::new());
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&checks, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    listener.serve_https(config, service, token).await;
}

fn answer(checks: &Checks, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if Checks::serves(path) {
        return checks.respond(path, request.uri().query());
    }
    let known = request.extensions().get::<PeerCertificates>().is_some();
    let code = match path {
        "/metrics" if known => return metrics::respond(&metrics::registry()),
        "/metrics" => StatusCode::UNAUTHORIZED,
        _ => StatusCode::NOT_FOUND,
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = code;
    response
}
