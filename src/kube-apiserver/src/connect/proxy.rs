//! The proxies of nodes, pods and services: HTTP and upgrades, to the address the cluster knows.

use apimachinery::{Object, Status, Value};
use http::header::{HOST, HeaderValue, LOCATION};
use http::uri::{Authority, PathAndQuery};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::find;
use super::hop::{self, Target};
use super::target::{ProxyName, pod_address};
use super::upgrade::{self, Asked};
use crate::app::App;
use crate::reply::{self, Response};
use crate::request_info::RequestInfo;

/// Tells the backend what the client asked this server for.
const FORWARDED_URI: &str = "x-forwarded-uri";
const ALLOWANCES: [&str; 4] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

/// Passes the request on and the answer back.
pub(super) async fn run(app: &App, info: &RequestInfo, request: Request<Incoming>) -> Result<Response, Status> {
    let target = match info.resource.as_str() {
        "nodes" => node(app, info).await?,
        "pods" => pod(app, info).await?,
        _ => service(app, info).await?,
    };
    let query = request.uri().query();
    let path = path(info, query)?;
    let way = Way::new(info, &target, &request);
    if upgrade::is_upgrade(request.headers()) {
        return match upgrade::ask(&target, path, request).await? {
            Asked::Accepted(response) => Ok(response),
            Asked::Refused(answer) => way.back(answer),
        };
    }
    if info.verb == "get" && info.rest.is_empty() && !info.trailing_slash {
        return to_folder(info, query);
    }
    let (parts, body) = request.into_parts();
    let body = body.map_err(Into::into).boxed();
    let mut asked = hop::request(&target, parts.method, path, &parts.headers, body)?;
    if let Ok(uri) = HeaderValue::try_from(&*info.path) {
        asked.headers_mut().insert(FORWARDED_URI, uri);
    }
    let answer = hop::try_send(&target, asked).await;
    way.back(answer.map_err(|why| Status::service_unavailable(format!("error trying to reach service: {why}")))?)
}

/// Links in what is at the top lead astray unless its address ends in a slash.
fn to_folder(info: &RequestInfo, query: Option<&str>) -> Result<Response, Status> {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let place = HeaderValue::try_from(format!("{}/{query}", info.path));
    let mut response = Response::new(reply::full(""));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(LOCATION, place.map_err(|_| Status::bad_request("invalid path"))?);
    Ok(response)
}

/// The way an answer comes back.
struct Way {
    /// What stands here before the paths of the backend.
    prefix: String,
    /// The names under which the backend may speak of itself.
    hosts: Vec<String>,
}

impl Way {
    fn new(info: &RequestInfo, target: &Target, request: &Request<Incoming>) -> Self {
        let rest: usize = info.rest.iter().map(|segment| segment.len() + 1).sum();
        let whole = info.path.trim_end_matches('/');
        let prefix = whole.get(..whole.len().saturating_sub(rest)).unwrap_or(whole);
        let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let named = named.or_else(|| request.uri().authority().map(Authority::as_str)).map(str::to_owned);
        let hosts = named.into_iter().chain([target.authority()]).collect();
        Self { prefix: prefix.trim_end_matches('/').to_owned(), hosts }
    }

    fn back(&self, answer: http::Response<Incoming>) -> Result<Response, Status> {
        let (head, body) = answer.into_parts();
        let mut response = Response::new(body.map_err(Into::into).boxed());
        *response.status_mut() = if head.status.is_informational() { StatusCode::BAD_GATEWAY } else { head.status };
        let headers = response.headers_mut();
        hop::pass_on(&head.headers, headers);
        // Who may read answers across origins is ours to say.
        for name in ALLOWANCES {
            headers.remove(name);
        }
        if let Some(place) = headers.get(LOCATION).and_then(|place| place.to_str().ok()) {
            let place = HeaderValue::try_from(self.place(place));
            headers.insert(LOCATION, place.map_err(|_| Status::internal("failed to parse Location header"))?);
        }
        Ok(response)
    }

    /// Where a redirect leads: what is on the backend is reached through this server.
    fn place(&self, place: &str) -> String {
        let whole = || place.to_owned();
        let absolute =
            place.split_once("://").filter(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let behind_host = place.strip_prefix("//").or(absolute.map(|(_, rest)| rest));
        let path = match behind_host {
            Some(rest) => {
                let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
                if !self.hosts.iter().any(|ours| ours == host) {
                    return whole();
                }
                path
            }
            None => place,
        };
        match path.strip_prefix(&*self.prefix) {
            _ if !path.starts_with('/') => whole(),
            Some(rest) if rest.is_empty() || rest.starts_with(['/', '?', '#']) => path.to_owned(),
            _ => format!("{}{path}", self.prefix),
        }
    }
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
    let name = port_name(&service, wanted.port)?;
    let slices = app.registry.list("discovery.k8s.io", "endpointslices", &info.namespace);
    let slices = slices.iter().filter(|slice| slice.label("kubernetes.io/service-name") == Some(wanted.name));
    let mut candidates: Vec<(String, i64)> = slices.flat_map(|slice| ready_pods(&slice.object(), name)).collect();
    // Any of them, and the others after it, for an endpoint may be left of a pod that is gone.
    let first = if candidates.is_empty() { 0 } else { rand::random_range(0..candidates.len()) };
    candidates.rotate_left(first);
    for (pod, port) in candidates {
        if let Ok(pod) = find(app, "pods", &info.namespace, &pod).await
            && let Ok(target) = target_of(app, &pod, port, wanted.https).await
        {
            return Ok(target);
        }
    }
    Err(Status::service_unavailable(format!("no endpoints available for service {:?}", wanted.name)))
}

/// The name of the port of a Service that is asked for by its number, its name or, where there is but one, not at all.
fn port_name<'a>(service: &'a Object, wanted: &'a str) -> Result<&'a str, Status> {
    let ports = service.list_at(&["spec", "ports"]);
    match wanted.parse::<i64>() {
        Ok(number) => {
            let known = ports.iter().find(|port| port.get("port").and_then(Value::as_i64) == Some(number));
            known.map(|port| port.str("name")).ok_or_else(|| {
                let name = service.name();
                Status::service_unavailable(format!("no service port {number} found for service {name:?}"))
            })
        }
        Err(_) if wanted.is_empty() && ports.len() == 1 => Ok(ports[0].str("name")),
        Err(_) => Ok(wanted),
    }
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

#[cfg(test)]
mod tests;
