//! Start, lead, stop.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use component_base::client::Settings;
use component_base::health::Checks;
use component_base::serving::{Listener, PeerCertificates};
use component_base::{metrics, shutdown, tls};
use controller_runtime::LeaderElector;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::controllers;
use crate::identity::{Identities, USER_AGENT};
use crate::stores::Stores;

/// Runs until a signal comes or leadership is lost.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let token = shutdown::signal_token();
    let listener = Listener::bind(config.address).await?;
    let server = tokio::spawn(serve(listener, tls_config(&config)?, token.clone()));
    let settings = Settings::read(&config.kubeconfig).await?;
    let own = settings.clone().builder(USER_AGENT)?.build();
    let anonymous = settings.clone().anonymous();
    let identities = Identities { own: own.clone(), settings, anonymous, token: token.clone() };
    let config = Arc::new(config);
    let outcome = match &config.election {
        None => {
            lead(config, identities, token.clone()).await;
            Ok(())
        }
        Some(election) => {
            let elector =
                LeaderElector::new(own, &election.namespace, &election.name, &identity()).times(election.times);
            let config = Arc::clone(&config);
            elector.run(token.clone(), |working| lead(config, identities, working)).await.context("leading")
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

async fn lead(config: Arc<Config>, identities: Identities, token: CancellationToken) {
    let stores = Stores::start(&identities.own, &token);
    controllers::run(config, identities, stores, token).await;
}

fn tls_config(config: &Config) -> anyhow::Result<Arc<tls::ServerConfig>> {
    let made = match &config.tls {
        Some(files) => tls::server_config(files.clone())?,
        None => tls::self_signed_config(vec!["localhost".to_owned()], config.client_ca.clone())?,
    };
    Ok(made)
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
    match path {
        "/metrics" if known => metrics::respond(&metrics::registry()),
        "/metrics" => status(StatusCode::UNAUTHORIZED),
        _ => status(StatusCode::NOT_FOUND),
    }
}

fn status(code: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = code;
    response
}
