//! Commands, attachments and ports: the request is handed to the runtime's own streaming server and the upgraded bytes
//! are carried in both directions, whatever protocol (SPDY, WebSocket) they speak.

use std::sync::Arc;

use cri::api::{AttachRequest, ExecRequest, PortForwardRequest};
use cri::{CriError, Runtime};
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Body, Query, Server, text};
use crate::pod::identity;
use crate::pod::observed::{self, Observed};

type Place<'a> = (&'a str, &'a str, &'a str);

/// Runs a command in a container.
pub(super) async fn exec(
    server: &Server,
    place: Place<'_>,
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let id = match running(server, place).await {
        Ok(id) => id,
        Err(refusal) => return refusal,
    };
    let tty = query.on(&["tty"]);
    let wanted = ExecRequest {
        container_id: id,
        cmd: query.all("command"),
        tty,
        stdin: query.on(&["input", "stdin"]),
        stdout: query.on(&["output", "stdout"]),
        // A terminal has one output.
        stderr: !tty && query.on(&["error", "stderr"]),
    };
    hand_over(server.node.runtime.exec(wanted).await, request).await
}

/// Attaches to the main process of a container.
pub(super) async fn attach(
    server: &Server,
    place: Place<'_>,
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let id = match running(server, place).await {
        Ok(id) => id,
        Err(refusal) => return refusal,
    };
    let tty = server.pods.find(place.0, place.1).is_some_and(|pod| {
        identity::find_container(&pod, place.2).is_some_and(|container| container.tty == Some(true))
    });
    let wanted = AttachRequest {
        container_id: id,
        tty,
        stdin: query.on(&["input", "stdin"]),
        stdout: query.on(&["output", "stdout"]),
        stderr: !tty && query.on(&["error", "stderr"]),
    };
    hand_over(server.node.runtime.attach(wanted).await, request).await
}

/// Connects to ports of a pod.
pub(super) async fn port_forward(
    server: &Server,
    (namespace, name): (&str, &str),
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let observed = match observe(server, namespace, name).await {
        Ok(observed) => observed,
        Err(refusal) => return refusal,
    };
    let Some(sandbox) = observed.sandbox() else {
        return text(StatusCode::NOT_FOUND, format!("pod {name:?} has no running sandbox"));
    };
    let texts = [query.all("port"), query.all("ports")].concat();
    let numbers = texts.iter().flat_map(|text| text.split(','));
    let port = numbers.filter_map(|text| text.parse().ok()).collect();
    let wanted = PortForwardRequest { pod_sandbox_id: sandbox.id.clone(), port };
    hand_over(server.node.runtime.port_forward(wanted).await, request).await
}

async fn observe(server: &Server, namespace: &str, name: &str) -> Result<Observed, Response<Body>> {
    let Some(pod) = server.pods.find(namespace, name) else {
        return Err(text(StatusCode::NOT_FOUND, format!("pod {name:?} not found in namespace {namespace:?}")));
    };
    let runtime: &Arc<dyn Runtime> = &server.node.runtime;
    let found = observed::observe(runtime.as_ref(), identity::uid(&pod), &server.node.paths.pod_logs(&pod)).await;
    found.map_err(|error| text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn running(server: &Server, (namespace, name, container): Place<'_>) -> Result<String, Response<Body>> {
    let observed = observe(server, namespace, name).await?;
    match observed.latest(container).filter(|seen| seen.running()) {
        Some(seen) => Ok(seen.status.id.clone()),
        None => Err(text(StatusCode::NOT_FOUND, format!("container not found ({container:?})"))),
    }
}

/// Repeats the request towards the runtime's address and joins the two connections.
async fn hand_over(url: Result<String, CriError>, request: Request<Incoming>) -> Response<Body> {
    let url = match url {
        Ok(url) => url,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    match join(&url, request).await {
        Ok(response) => response,
        Err(error) => text(StatusCode::BAD_GATEWAY, format!("the runtime's streaming server failed: {error}")),
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn join(url: &str, mut request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
    let url: Uri = url.parse()?;
    let host = url.host().ok_or("its address has no host")?.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, url.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let path = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut onward = Request::builder().method(request.method()).uri(path).body(Empty::<bytes::Bytes>::new())?;
    for (name, value) in request.headers() {
        // The token of the caller is none of the runtime's business.
        if name != header::AUTHORIZATION && name != header::HOST && name != header::CONTENT_LENGTH {
            onward.headers_mut().append(name.clone(), value.clone());
        }
    }
    let authority = url.authority().ok_or("its address has no authority")?.as_str();
    onward.headers_mut().insert(header::HOST, authority.parse()?);
    let mut answer = sender.send_request(onward).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(|body| body.map_err(BoxError::from).boxed()));
    }
    let theirs = hyper::upgrade::on(&mut answer);
    let ours = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (Ok(theirs), Ok(ours)) = futures::join!(theirs, ours) else { return };
        let (mut theirs, mut ours) = (TokioIo::new(theirs), TokioIo::new(ours));
        // However it ends, both ends learn of it by the closing of their connection.
        let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
    });
    let (parts, _) = answer.into_parts();
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    *response.body_mut() = Empty::new().map_err(|never| match never {}).boxed();
    *response.headers_mut() = parts.headers;
    Ok(response)
}
