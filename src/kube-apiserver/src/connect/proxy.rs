//! The proxies of nodes, pods and services: HTTP and upgrades, to the address the cluster knows.

use apimachinery::{Object, Status, Value};
use http::uri::PathAndQuery;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::hop::{self, Target};
use super::target::{ProxyName, pod_address};
use super::{find, upgrade};
use crate::app::App;
use crate::reply::Response;
use crate::request_info::RequestInfo;

/// Passes the request on and the answer back.
pub(super) async fn run(app: &App, info: &RequestInfo, request: Request<Incoming>) -> Result<Response, Status> {
    let target = match info.resource.as_str() {
        "nodes" => node(app, info).await?,
        "pods" => pod(app, info).await?,
        _ => service(app, info).await?,
    };
    let path = path(info, request.uri().query())?;
    if upgrade::is_upgrade(request.headers()) {
        return upgrade::run(&target, path, request).await;
    }
    let (parts, body) = request.into_parts();
    let body = body.map_err(Into::into).boxed();
    let asked = hop::request(&target, parts.method, path, &parts.headers, body)?;
    let (head, body) = hop::send(&target, asked).await?.into_parts();
    let mut response = Response::new(body.map_err(Into::into).boxed());
    *response.status_mut() = if head.status.is_informational() { StatusCode::BAD_GATEWAY } else { head.status };
    hop::pass_on(&head.headers, response.headers_mut());
    Ok(response)
}

/// What follows `proxy` in the path, and the query, as the client wrote them.
fn path(info: &RequestInfo, query: Option<&str>) -> Result<PathAndQuery, Status> {
    let mut text = String::new();
    for segment in &info.rest {
        text.push('/');
        text.push_str(segment);
    }
    if text.is_empty() || info.trailing_slash {
        text.push('/');
    }
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    PathAndQuery::try_from(text).map_err(|_| Status::bad_request("invalid path"))
}

async fn node(app: &App, info: &RequestInfo) -> Result<Target, Status> {
    let wanted = ProxyName::parse(&info.name)?;
    let node = find(app, "nodes", "", wanted.name).await?;
    let kubelet = app.kubelets.target(&node, false)?;
    // This server's certificate is for kubelets alone: other ports of the host are not offered.
    if wanted.port.is_empty() || wanted.port == kubelet.port.to_string() {
        Ok(kubelet)
    } else {
        Err(Status::bad_request("only the kubelet's port of a node can be proxied"))
    }
}

async fn pod(app: &App, info: &RequestInfo) -> Result<Target, Status> {
    let wanted = ProxyName::parse(&info.name)?;
    let pod = find(app, "pods", &info.namespace, wanted.name).await?;
    let ports = pod.list_at(&["spec", "containers"]).iter().flat_map(|container| container.list("ports"));
    let port = match wanted.port {
        "" => ports.map(|port| port.get("containerPort")).next().flatten().and_then(Value::as_i64).unwrap_or(80),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => number.parse().unwrap_or(0),
        name => ports
            .filter(|port| port.str("name") == name)
            .find_map(|port| port.get("containerPort").and_then(Value::as_i64))
            .unwrap_or(0),
    };
    target_of(app, &pod, port, wanted.https).await
}

async fn target_of(app: &App, pod: &Object, port: i64, https: bool) -> Result<Target, Status> {
    let port = u16::try_from(port).ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| Status::bad_request("no such port"))?;
    let node = pod.str_at(&["spec", "nodeName"]);
    let node = if node.is_empty() { None } else { Some(find(app, "nodes", "", node).await?) };
    let host = pod_address(pod, node.as_ref())?.to_string();
    let tls = https.then(|| app.kubelets.anonymous_tls());
    Ok(Target { host, port, tls, dial_limit: hop::DIAL_LIMIT })
}

async fn service(app: &App, info: &RequestInfo) -> Result<Target, Status> {
    let wanted = ProxyName::parse(&info.name)?;
    let service = find(app, "services", &info.namespace, wanted.name).await?;
    let ports = service.list_at(&["spec", "ports"]);
    let number = |port: &Value| port.get("port").and_then(Value::as_i64).map(|number| number.to_string());
    let chosen = match wanted.port {
        "" => (ports.len() == 1).then(|| &ports[0]),
        text => ports.iter().find(|port| port.str("name") == text || number(port).as_deref() == Some(text)),
    };
    let unavailable = || Status::service_unavailable(format!("no endpoints available for service {:?}", wanted.name));
    let name = chosen.map(|port| port.str("name")).ok_or_else(|| {
        Status::service_unavailable(format!("no service port {:?} found for service {:?}", wanted.port, wanted.name))
    })?;
    let slices = app.registry.list("discovery.k8s.io", "endpointslices", &info.namespace);
    let slices = slices.iter().filter(|slice| slice.label("kubernetes.io/service-name") == Some(wanted.name));
    let candidates: Vec<(String, i64)> = slices.flat_map(|slice| ready_pods(&slice.object(), name)).collect();
    if candidates.is_empty() {
        return Err(unavailable());
    }
    let (pod, port) = &candidates[rand::random_range(0..candidates.len())];
    let pod = find(app, "pods", &info.namespace, pod).await.map_err(|_| unavailable())?;
    target_of(app, &pod, *port, wanted.https).await
}

/// The names of the ready pods of a slice with the number of a named port.
fn ready_pods(slice: &Object, port: &str) -> Vec<(String, i64)> {
    let named = slice.list_at(&["ports"]).iter().find(|entry| entry.str("name") == port);
    let Some(number) = named.and_then(|entry| entry.get("port")).and_then(Value::as_i64) else {
        return Vec::new();
    };
    let ready = |endpoint: &&Value| {
        endpoint.at(&["conditions", "ready"]).and_then(Value::as_bool).unwrap_or(true)
            && endpoint.at(&["targetRef", "kind"]).and_then(Value::as_str) == Some("Pod")
    };
    let endpoints = slice.list_at(&["endpoints"]).iter().filter(ready);
    endpoints
        .filter_map(|endpoint| endpoint.at(&["targetRef", "name"])?.as_str().map(|name| (name.to_owned(), number)))
        .collect()
}
