//! The HTTPS server of the node: logs, commands and ports of containers, and what the node is doing.

pub mod auth;
pub mod listen;
pub mod logs;
pub mod stats;
pub mod streaming;

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::{Component, Path};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::broadcast;

use crate::node_context::NodeContext;
use crate::pods::Pods;
use auth::Gate;

/// The body of an answer.
pub type Body = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The server and what it shows.
pub struct Server {
    /// The pods of the node.
    pub pods: Arc<Pods>,
    /// The node.
    pub node: Arc<NodeContext>,
    /// Who may ask.
    pub gate: Gate,
    /// Uids of pods whose containers change.
    pub changed: broadcast::Sender<String>,
}

/// An answer with a text.
pub fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", text.into())
}

fn with_type(status: StatusCode, kind: &'static str, content: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(content.into()).map_err(|never: Infallible| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

/// The values of a query, in the order in which they were written.
#[derive(Debug, Clone, Default)]
pub struct Query(HashMap<String, Vec<String>>);

impl Query {
    /// Reads a query string.
    pub fn parse(query: Option<&str>) -> Self {
        let mut values: HashMap<String, Vec<String>> = HashMap::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            values.entry(decode(name)).or_default().push(decode(value));
        }
        Self(values)
    }

    /// All values of a name.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// The first value of a name.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(String::as_str)
    }

    /// Whether any of these names is switched on.
    pub fn on(&self, names: &[&str]) -> bool {
        names.iter().any(|name| matches!(self.first(name), Some("1" | "true")))
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = bytes
            .get(index + 1..index + 3)
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (bytes[index], hex) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                index += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        index += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

impl Server {
    /// Answers one request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = match self.gate.check(&request).await {
            Ok(()) => self.route(request).await,
            Err(refusal) => text(refusal.status, refusal.message),
        };
        tracing::debug!(%method, path, status = response.status().as_u16(), "request");
        Ok(response)
    }

    async fn route(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let query = Query::parse(request.uri().query());
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match parts.as_slice() {
            ["healthz" | "livez" | "readyz", ..] => text(StatusCode::OK, "ok"),
            ["pods" | "runningpods"] => self.list_pods(),
            ["containerLogs", namespace, pod, container] => {
                logs::answer(self, (namespace, pod, container), &query).await
            }
            ["exec" | "run", namespace, pod, rest @ ..] if !rest.is_empty() => {
                streaming::exec(self, (namespace, pod, rest[rest.len() - 1]), &query, request).await
            }
            ["attach", namespace, pod, rest @ ..] if !rest.is_empty() => {
                streaming::attach(self, (namespace, pod, rest[rest.len() - 1]), &query, request).await
            }
            ["portForward", namespace, pod, ..] => {
                streaming::port_forward(self, (namespace, pod), &query, request).await
            }
            ["logs", rest @ ..] => system_log(&rest.join("/")),
            ["stats", "summary"] => stats::summary(self).await,
            ["metrics"] => stats::metrics(self),
            ["metrics", "resource"] => stats::resource_metrics(self).await,
            _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }

    fn list_pods(&self) -> Response<Body> {
        let items: Vec<Pod> = self.pods.list().iter().map(|pod| (**pod).clone()).collect();
        let list = List { items, metadata: Default::default() };
        match serde_json::to_vec(&list) {
            Ok(json) => with_type(StatusCode::OK, "application/json", json),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

/// A file below `/var/log`.
fn system_log(path: &str) -> Response<Body> {
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let root = Path::new("/var/log");
    let Some(full) = root.join(path).canonicalize().ok().filter(|full| inside && full.starts_with(root)) else {
        return text(StatusCode::NOT_FOUND, "404 page not found\n");
    };
    if full.is_dir() {
        let entries = std::fs::read_dir(&full).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        return text(StatusCode::OK, names.join("\n") + "\n");
    }
    match std::fs::read(&full) {
        Ok(content) => with_type(StatusCode::OK, "text/plain; charset=utf-8", content),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_keep_order_and_decode() {
        let query = Query::parse(Some("command=sh&command=-c&command=echo%20a+b&tty=1&input=true&output=0"));
        assert_eq!(query.all("command"), ["sh", "-c", "echo a b"]);
        assert!(query.on(&["tty"]) && query.on(&["stdin", "input"]) && !query.on(&["output"]));
        assert_eq!(decode("100%"), "100%");
    }

    #[test]
    fn logs_outside_their_folder_are_not_shown() {
        for path in ["../etc/passwd", "/etc/passwd", "a/../../etc/passwd"] {
            assert_eq!(system_log(path).status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}
