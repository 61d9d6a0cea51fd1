//! Health check node ports: where a load balancer asks whether this node has endpoints of a Service.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use component_base::serving::Listener;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio_util::sync::CancellationToken;

use crate::health::{Health, answer};
use crate::service::ServiceName;

/// The open health check ports.
pub struct HealthPorts {
    health: Arc<Health>,
    open: BTreeMap<ServiceName, Open>,
}

struct Open {
    port: u16,
    endpoints: Arc<AtomicUsize>,
    token: CancellationToken,
}

impl HealthPorts {
    /// No ports yet.
    pub fn new(health: Arc<Health>) -> Self {
        Self { health, open: BTreeMap::new() }
    }

    /// Opens, updates or closes the port of a Service; `wanted` is the port and its local endpoints.
    pub fn set(&mut self, name: &ServiceName, wanted: Option<(u16, usize)>) {
        if let Some(open) = self.open.get(name) {
            if let Some((_, count)) = wanted.filter(|(port, _)| *port == open.port) {
                open.endpoints.store(count, Ordering::Relaxed);
                return;
            }
            open.token.cancel();
            self.open.remove(name);
        }
        let Some((port, count)) = wanted else { return };
        let open = Open { port, endpoints: Arc::new(AtomicUsize::new(count)), token: CancellationToken::new() };
        let answerer =
            Answerer { name: name.clone(), endpoints: Arc::clone(&open.endpoints), health: Arc::clone(&self.health) };
        tokio::spawn(serve(port, answerer, open.token.clone()));
        self.open.insert(name.clone(), open);
    }

    /// Closes all ports.
    pub fn stop(&mut self) {
        for open in std::mem::take(&mut self.open).into_values() {
            open.token.cancel();
        }
    }
}

#[derive(Clone)]
struct Answerer {
    name: ServiceName,
    endpoints: Arc<AtomicUsize>,
    health: Arc<Health>,
}

impl Answerer {
    fn respond(&self) -> Response<Full<Bytes>> {
        let count = self.endpoints.load(Ordering::Relaxed);
        let healthy = self.health.is_live();
        let status = if count > 0 && healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let body = serde_json::json!({
            "service": {"namespace": self.name.namespace, "name": self.name.name},
            "localEndpoints": count,
            "serviceProxyHealthy": healthy,
        });
        let mut response = answer(status, body.to_string());
        let headers = response.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        headers.insert("x-load-balancing-endpoint-weight", http::HeaderValue::from(count));
        response
    }
}

async fn serve(port: u16, answerer: Answerer, token: CancellationToken) {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = match Listener::bind(both).await {
        Ok(listener) => Ok(listener),
        // A host without IPv6.
        Err(_) => Listener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await,
    };
    match listener {
        Ok(listener) => {
            let service = service_fn(move |_: Request<Incoming>| {
                let response = answerer.respond();
                async move { Ok::<_, Infallible>(response) }
            });
            listener.serve_http(service, token).await;
        }
        Err(error) => {
            tracing::error!(%error, service = %answerer.name, "health check port not opened");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_endpoints_asks_not_to_be_used() {
        let health = Arc::new(Health::default());
        health.updated();
        let name = ServiceName { namespace: "a".to_owned(), name: "b".to_owned() };
        let answerer = Answerer { name, endpoints: Arc::default(), health };
        assert_eq!(answerer.respond().status(), 503);
        answerer.endpoints.store(2, Ordering::Relaxed);
        let response = answerer.respond();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-load-balancing-endpoint-weight"], "2");
    }
}
