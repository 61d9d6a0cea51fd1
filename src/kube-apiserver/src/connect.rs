//! Streams to nodes, pods and services: log, exec, attach, port-forward and the proxies.
//!
//! The request was authorized before. Here it is turned into one to a kubelet (or pod), sent over a connection of its own,
//! and after a `101` both sides are spliced: bytes pass through untouched, SPDY and WebSocket alike. The exceptions are what
//! today's clients open as a WebSocket, for kubelets know SPDY only: [`tunnel`] takes its bytes out of messages, and
//! [`remote_command`] turns channels into streams.
//!
//! # Invariants
//! - Requests are built from parsed parts only; no text of the client reaches a request line or header unchecked.
//! - A client's credentials never travel on.

pub mod hop;
pub mod kubelet;
mod log;
mod pod;
mod proxy;
mod remote_command;
mod spdy;
mod target;
mod tunnel;
mod upgrade;
mod websocket;

use std::sync::Arc;

use apimachinery::{Object, Status};
use http::Request;
use hyper::body::Incoming;

use crate::app::App;
use crate::authz::Attributes;
use crate::error;
use crate::reply::Response;
use crate::request_info::RequestInfo;
use crate::user::User;

pub use kubelet::Kubelets;

/// Carries out a request on a stream subresource.
pub async fn handle(app: &Arc<App>, info: &RequestInfo, user: &User, request: Request<Incoming>) -> Response {
    match route(app, info, user, request).await {
        Ok(response) => response,
        Err(status) => error::respond(&status),
    }
}

async fn route(app: &App, info: &RequestInfo, user: &User, request: Request<Incoming>) -> Result<Response, Status> {
    match (info.resource.as_str(), info.subresource.as_str()) {
        ("pods", "log") => log::run(app, info).await,
        ("pods", "exec" | "attach" | "portforward") => {
            may_open(app, info, user, &request)?;
            pod::run(app, info, request).await
        }
        ("nodes" | "pods" | "services", "proxy") => proxy::run(app, info, request).await,
        _ => Err(Status::unknown_path()),
    }
}

/// A WebSocket is opened with GET, but what it does is no reading: it needs `create` as the POST of SPDY does.
fn may_open(app: &App, info: &RequestInfo, user: &User, request: &Request<Incoming>) -> Result<(), Status> {
    if info.verb != "get" || !upgrade::is_websocket(request.headers()) {
        return Ok(());
    }
    app.authorizer.require(&Attributes { verb: "create", ..Attributes::of(user, info) })
}

async fn find(app: &App, resource: &str, namespace: &str, name: &str) -> Result<Object, Status> {
    let found = app.registry.get_fresh("", resource, namespace, name).await;
    found.map(|stored| stored.object()).ok_or_else(|| Status::not_found("", resource, name))
}

/// The pod in the path and the kubelet it runs on.
async fn pod_and_node(app: &App, info: &RequestInfo) -> Result<(Object, Option<Object>), Status> {
    let pod = find(app, "pods", &info.namespace, &info.name).await?;
    let node = pod.str_at(&["spec", "nodeName"]);
    if node.is_empty() {
        return Ok((pod, None));
    }
    let node = find(app, "nodes", "", node).await?;
    Ok((pod, Some(node)))
}

#[cfg(test)]
mod tests;
