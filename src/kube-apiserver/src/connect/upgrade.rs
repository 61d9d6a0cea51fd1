//! Requests that become a stream: the upgrade is asked of the backend, and what it answers is passed back.

use apimachinery::Status;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::hop::{self, Target};
use crate::reply::{self, Body, Response};

/// The most that is passed on of a refusal.
const REFUSAL_LIMIT: usize = 64 * 1024;

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// True for a request that wants to become a stream.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE) && lists(headers, "upgrade")
}

/// True for a request that wants to become a WebSocket.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    let wanted = headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    wanted && is_upgrade(headers)
}

fn lists(headers: &HeaderMap, token: &str) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Asks a kubelet for the same upgrade and splices both sides.
pub(super) async fn run(target: &Target, path: PathAndQuery, request: Request<Incoming>) -> Result<Response, Status> {
    match ask(target, path, request).await? {
        Asked::Accepted(response) => Ok(response),
        Asked::Refused(answer) => refuse(answer).await,
    }
}

/// What came of the wish to become a stream.
pub(super) enum Asked {
    /// This tells the client so; then both sides are spliced.
    Accepted(Response),
    /// The backend has another answer.
    Refused(http::Response<Incoming>),
}

/// Asks the backend for the same upgrade.
pub(super) async fn ask(target: &Target, path: PathAndQuery, mut request: Request<Incoming>) -> Result<Asked, Status> {
    if !is_upgrade(request.headers()) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let client = hyper::upgrade::on(&mut request);
    let mut asked = hop::request(target, request.method().clone(), path, request.headers(), reply::full(""))?;
    asked.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    for protocol in request.headers().get_all(UPGRADE) {
        asked.headers_mut().append(UPGRADE, protocol.clone());
    }
    let answer = hop::send(target, asked).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        Ok(Asked::Accepted(accept(client, answer)))
    } else {
        Ok(Asked::Refused(answer))
    }
}

/// What asks a kubelet for a SPDY connection with one of its protocols.
pub(super) fn to_spdy(target: &Target, path: PathAndQuery, protocol: &'static str) -> Result<Request<Body>, Status> {
    let mut asked = hop::request(target, Method::POST, path, &HeaderMap::new(), reply::full(""))?;
    let headers = asked.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    Ok(asked)
}

/// Tells the client what the backend accepted, and joins the two connections when the client has read that.
fn accept(client: OnUpgrade, mut answer: http::Response<Incoming>) -> Response {
    let backend = hyper::upgrade::on(&mut answer);
    let mut response = Response::new(reply::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    hop::pass_on(answer.headers(), response.headers_mut());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    for protocol in answer.headers().get_all(UPGRADE) {
        response.headers_mut().append(UPGRADE, protocol.clone());
    }
    tokio::spawn(async move {
        let (Ok(client), Ok(backend)) = tokio::join!(client, backend) else {
            return;
        };
        let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
        // Either side may go at any time; the other one then sees the end too.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut backend).await;
    });
    response
}

/// Passes a refusal back. Anything but `101` makes kubectl try its other protocol.
pub(super) async fn refuse(answer: http::Response<Incoming>) -> Result<Response, Status> {
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, REFUSAL_LIMIT).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if matches!(parts.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || parts.status.is_success() {
        // The kubelet speaks of this server, not of the client.
        let text = String::from_utf8_lossy(&body);
        return Err(Status::internal(format!("error dialing backend: {}: {}", parts.status, text.trim())));
    }
    let mut response = Response::new(reply::full(body));
    *response.status_mut() = parts.status;
    if let Some(media_type) = parts.headers.get(CONTENT_TYPE) {
        response.headers_mut().insert(CONTENT_TYPE, media_type.clone());
    }
    Ok(response)
}
