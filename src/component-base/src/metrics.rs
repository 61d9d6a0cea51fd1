//! Metrics in the Prometheus text format.

mod process;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::Full;

pub use prometheus_client;
pub use prometheus_client::registry::Registry;

/// A registry that tells of the program itself.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process::Process));
    registry
}

/// Answers `/metrics` with all that a registry holds.
pub fn respond(registry: &Registry) -> Response<Full<Bytes>> {
    let mut body = String::new();
    let mut response = match prometheus_client::encoding::text::encode(&mut body, registry) {
        Ok(()) => Response::new(Full::new(Bytes::from(body))),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be encoded");
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    };
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    );
    response
}
