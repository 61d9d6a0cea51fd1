//! Port-forward through a WebSocket: its binary messages carry the bytes of a SPDY connection.
//!
//! The WebSocket ends here; the kubelet sees an ordinary SPDY upgrade.

use apimachinery::Status;
use futures::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::hop::{self, Target};
use super::upgrade;
use crate::reply::{self, Response};

/// How clients name such a connection: this before the name of the SPDY sub-protocol.
const PREFIX: &str = "SPDY/3.1+";
/// The sub-protocol kubelets speak.
const PORT_FORWARD: &str = "portforward.k8s.io";
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const BUFFER: usize = 32 * 1024;

/// True if the client wants SPDY in a WebSocket.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    upgrade::is_websocket(headers) && protocol(headers).is_some()
}

fn protocol(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offered = values.flat_map(|value| value.split(',')).map(str::trim);
    offered.find(|name| name.strip_prefix(PREFIX) == Some(PORT_FORWARD)).map(str::to_owned)
}

/// Opens both sides and carries bytes between them.
pub(super) async fn run(
    target: &Target,
    path: PathAndQuery,
    mut request: Request<Incoming>,
) -> Result<Response, Status> {
    let wrong = || Status::bad_request("malformed WebSocket handshake");
    let chosen = protocol(request.headers()).ok_or_else(wrong)?;
    let key = request.headers().get(SEC_WEBSOCKET_KEY).ok_or_else(wrong)?;
    let accepted = HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| wrong())?;
    if request.headers().get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(wrong());
    }
    let mut asked = hop::request(target, Method::POST, path, &HeaderMap::new(), reply::full(""))?;
    asked.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    asked.headers_mut().insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    asked.headers_mut().insert(STREAM_PROTOCOL, HeaderValue::from_static(PORT_FORWARD));
    let client = hyper::upgrade::on(&mut request);
    let mut answer = hop::send(target, asked).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return upgrade::refuse(answer).await;
    }
    let backend = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        if let (Ok(client), Ok(backend)) = tokio::join!(client, backend) {
            carry(client, backend).await;
        }
    });
    let mut response = Response::new(reply::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::try_from(chosen).map_err(|_| wrong())?);
    Ok(response)
}

async fn carry(client: Upgraded, backend: Upgraded) {
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(client), Role::Server, None).await;
    let (mut to_client, mut from_client) = socket.split();
    let (mut from_backend, mut to_backend) = tokio::io::split(TokioIo::new(backend));
    let upwards = async {
        while let Some(Ok(message)) = from_client.next().await {
            let sent = match message {
                // TLS may keep the last record back until it is told to flush.
                Message::Binary(bytes) => match to_backend.write_all(&bytes).await {
                    Ok(()) => to_backend.flush().await,
                    failed => failed,
                },
                Message::Close(_) => break,
                // Pings are answered below; text is not part of the protocol.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
                Message::Text(_) => break,
            };
            if sent.is_err() {
                break;
            }
        }
        // The other side sees the end and ends too.
        let _ = to_backend.shutdown().await;
    };
    let downwards = async {
        let mut buffer = vec![0; BUFFER];
        while let Ok(count @ 1..) = from_backend.read(&mut buffer).await {
            let message = Message::binary(buffer[..count].to_vec());
            if to_client.send(message).await.is_err() {
                break;
            }
        }
        let _ = to_client.close().await;
    };
    tokio::select! {
        () = downwards => {}
        () = async { upwards.await; tokio::time::sleep(LINGER).await } => {}
    }
}

/// How long the backend may go on after the client said goodbye.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);
