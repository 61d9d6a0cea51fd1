//! Where the server listens, and with which certificate.

use std::net::IpAddr;
use std::sync::Arc;

use component_base::serving::Listener;
use component_base::tls::{self, TlsFiles};
use hyper::service::service_fn;
use kube::Client;
use tokio_util::sync::CancellationToken;

use super::Server;
use crate::bootstrap;
use crate::config::Config;

/// Binds the ports and serves them until the token is cancelled.
pub async fn serve(
    config: &Arc<Config>,
    server: Arc<Server>,
    (client, ips): (Option<Client>, Vec<IpAddr>),
    token: &CancellationToken,
) -> anyhow::Result<()> {
    if let Some(address) = config.serving.healthz {
        let listener = Listener::bind(address).await?;
        let checks = Arc::new(component_base::health::Checks::new());
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let response = checks.respond(request.uri().path(), request.uri().query());
            async move { Ok::<_, std::convert::Infallible>(response) }
        });
        tokio::spawn(listener.serve_http(service, token.clone()));
    }
    let listener = Listener::bind(config.serving.address).await?;
    let service = service_fn(move |request| server.clone().answer(request));
    let client_ca = config.serving.access.client_ca.clone();
    let files = |(cert, key)| TlsFiles { cert, key, client_ca: client_ca.clone() };
    let config = config.clone();
    let tls = match (&config.serving.certificate, client.filter(|_| config.serving.bootstrap)) {
        (Some(pair), _) => tls::server_config(files(pair.clone()))?,
        (None, Some(client)) => {
            // Nobody can be served before the certificate is signed; everything else goes on meanwhile.
            let token = token.clone();
            tokio::spawn(async move {
                let made = bootstrap::serving_certificate(&client, &config.cert_dir, &config.identity.name, &ips).await;
                let ready = made.and_then(|(cert, key)| Ok(tls::server_config(TlsFiles { cert, key, client_ca })?));
                match ready {
                    Ok(tls) => listener.serve_https(tls, service, token).await,
                    Err(error) => tracing::error!("no serving certificate: {error:#}"),
                }
            });
            return Ok(());
        }
        (None, None) => {
            let hosts =
                std::iter::once(config.identity.name.clone()).chain(ips.iter().map(IpAddr::to_string)).collect();
            tls::self_signed_config(hosts, client_ca)?
        }
    };
    tokio::spawn(listener.serve_https(tls, service, token.clone()));
    Ok(())
}
