//! Builds the proxy from its configuration, runs it and its small servers, and ends them.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Context;
use component_base::client;
use component_base::metrics::{self, Registry};
use component_base::serving::Listener;
use controller_runtime::Informer;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use netfilter::KernelRoutes;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::drift::Drift;
use crate::health::{Health, answer};
use crate::host::{self, Host};
use crate::node_routes::NodeRoutes;
use crate::sync::{self, Inputs, Proxy};

/// Services that another proxy serves, and slices of headless ones, are not even sent here.
const OUR_SERVICES: &str = "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name";

/// Runs until the token is cancelled. The rules stay in the kernel, so that Services go on working
/// while the proxy is replaced.
pub async fn run(config: Config, token: CancellationToken) -> anyhow::Result<()> {
    let host = Host::find(Some(&config.host_root))?;
    host::prepare(&config.conntrack);
    let api = match &config.kubeconfig {
        Some(path) => client::connect(path, "kube-proxy").await?,
        None => client::in_cluster("kube-proxy").await?,
    };
    let health = Arc::new(Health::default());
    let mut registry = component_base::metrics::registry();
    health.register(&mut registry);
    let servers = serve(&config, &health, Arc::new(registry), &token).await?;
    let inputs = follow(&api, &config, &token);
    tracing::info!(node = config.settings.node.name, routes = config.node_routes, "follow services");
    let routes = config.node_routes.then(|| {
        let routes = NodeRoutes::new(KernelRoutes, inputs.nodes.clone(), &config.settings.node.name);
        tokio::spawn(routes.run(token.clone()))
    });
    Proxy::new(host, inputs, config.settings, health).repairing(Drift::watch()).run(token).await;
    if let Some(routes) = routes {
        routes.await.context("the routes to other nodes")?;
    }
    for server in servers {
        server.await.context("a server failed")?;
    }
    Ok(())
}

fn follow(api: &kube::Client, config: &Config, token: &CancellationToken) -> Inputs {
    let services = Informer::<Service>::new(Api::all(api.clone())).labels(OUR_SERVICES);
    let slices = Informer::<EndpointSlice>::new(Api::all(api.clone()))
        .labels(OUR_SERVICES)
        .index(sync::BY_SERVICE, sync::service_of_slice)
        .trim(|slice| slice.metadata.annotations = None);
    let mut nodes = Informer::<Node>::new(Api::all(api.clone())).trim(|node| {
        if let Some(status) = &mut node.status {
            (status.images, status.conditions) = (None, None);
        }
    });
    if !config.node_routes {
        nodes = nodes.fields(&format!("metadata.name={}", config.settings.node.name));
    }
    Inputs {
        services: services.start(token.clone()),
        slices: slices.start(token.clone()),
        nodes: nodes.start(token.clone()),
    }
}

type Servers = Vec<tokio::task::JoinHandle<()>>;

async fn serve(
    config: &Config,
    health: &Arc<Health>,
    registry: Arc<Registry>,
    token: &CancellationToken,
) -> anyhow::Result<Servers> {
    let mut servers = Servers::new();
    if let Some(address) = config.healthz {
        let listener = Listener::bind(address).await?;
        let health = Arc::clone(health);
        let service = service_fn(move |request: Request<Incoming>| {
            let response = health.respond(request.uri().path());
            async move { Ok::<_, Infallible>(response) }
        });
        servers.push(tokio::spawn(listener.serve_http(service, token.clone())));
    }
    if let Some(address) = config.metrics {
        let listener = Listener::bind(address).await?;
        let service = service_fn(move |request: Request<Incoming>| {
            let response = match request.uri().path() {
                "/metrics" => metrics::respond(&registry),
                "/proxyMode" => answer(StatusCode::OK, "nftables".to_owned()),
                "/healthz" => answer(StatusCode::OK, "ok".to_owned()),
                _ => answer(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
            };
            async move { Ok::<_, Infallible>(response) }
        });
        servers.push(tokio::spawn(listener.serve_http(service, token.clone())));
    }
    Ok(servers)
}
