//! Builds the server from its configuration, runs it, and lets clients go before it ends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use anyhow::Context;
use bytes::Bytes;
use component_base::client;
use component_base::metrics;
use component_base::serving::Listener;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::forward::Forwarder;
use crate::respond::Responder;
use crate::server::Sockets;
use crate::source::Source;
use crate::zone::Zone;

/// Runs until the token is cancelled, then answers a little longer while clients learn of it.
pub async fn run(config: Config, token: CancellationToken) -> anyhow::Result<()> {
    let api = match &config.kubeconfig {
        Some(path) => client::connect(path, "cluster-dns").await?,
        None => client::in_cluster("cluster-dns").await?,
    };
    let end = CancellationToken::new();
    let ready = Arc::new(AtomicBool::new(false));
    let sockets = Sockets::bind(config.address).await?;
    let servers = serve_health(&config, &ready, &end).await?;
    let zone = Arc::new(RwLock::new(Zone::new(&config.domain)));
    let responder = Responder::new(Arc::clone(&zone), Forwarder::new(config.upstreams));
    let loaded = Arc::clone(&ready);
    let source = Source::start(&api, &end);
    let follow = tokio::spawn(source.run(
        zone,
        move || {
            tracing::info!("names of the cluster are complete");
            loaded.store(true, Ordering::Relaxed);
        },
        end.clone(),
    ));
    let answer = tokio::spawn(sockets.serve(responder, end.clone()));
    token.cancelled().await;
    ready.store(false, Ordering::Relaxed);
    tokio::time::sleep(config.lameduck).await;
    end.cancel();
    for task in [follow, answer].into_iter().chain(servers) {
        task.await.context("a task failed")?;
    }
    Ok(())
}

type Servers = Vec<tokio::task::JoinHandle<()>>;

async fn serve_health(config: &Config, ready: &Arc<AtomicBool>, end: &CancellationToken) -> anyhow::Result<Servers> {
    let (is_ready, registry) = (Arc::clone(ready), Arc::new(component_base::metrics::registry()));
    Ok(vec![
        serve(config.health, end, |path| match path {
            "/health" => text(StatusCode::OK, "OK"),
            _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        })
        .await?,
        serve(config.ready, end, move |path| match (path, is_ready.load(Ordering::Relaxed)) {
            ("/ready", true) => text(StatusCode::OK, "OK"),
            ("/ready", false) => text(StatusCode::SERVICE_UNAVAILABLE, "kubernetes"),
            _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        })
        .await?,
        serve(config.metrics, end, move |path| match path {
            "/metrics" => metrics::respond(&registry),
            _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        })
        .await?,
    ])
}

async fn serve(
    address: SocketAddr,
    end: &CancellationToken,
    answer: impl Fn(&str) -> Response<Full<Bytes>> + Clone + Send + Sync + 'static,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let listener = Listener::bind(address).await?;
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    Ok(tokio::spawn(listener.serve_http(service, end.clone())))
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response
}
