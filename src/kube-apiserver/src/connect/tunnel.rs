//! Port-forward through a WebSocket: its binary messages carry the bytes of a SPDY connection.
//!
//! The WebSocket ends here; the kubelet sees an ordinary SPDY upgrade.

use apimachinery::Status;
use futures::{SinkExt, StreamExt};
use http::header::HeaderMap;
use http::uri::PathAndQuery;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::hop::{self, Target};
use super::{upgrade, websocket};
use crate::reply::Response;

/// How clients name such a connection: SPDY, and the protocol that kubelets speak over it.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// The same as kubelets name it.
const PORT_FORWARD: &str = "portforward.k8s.io";
const BUFFER: usize = 32 * 1024;

/// True if the client wants SPDY in a WebSocket.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    websocket::offers(headers, TUNNEL)
}

/// Opens both sides and carries bytes between them.
pub(super) async fn run(
    target: &Target,
    path: PathAndQuery,
    mut request: Request<Incoming>,
) -> Result<Response, Status> {
    let response = websocket::accept(request.headers(), TUNNEL)?;
    let client = hyper::upgrade::on(&mut request);
    let mut answer = hop::send(target, upgrade::to_spdy(target, path, PORT_FORWARD)?).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return upgrade::refuse(answer).await;
    }
    let backend = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        if let (Ok(client), Ok(backend)) = tokio::join!(client, backend) {
            carry(client, backend).await;
        }
    });
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
        let _ = to_client.send(websocket::goodbye()).await;
    };
    tokio::select! {
        () = downwards => {}
        () = async { upwards.await; tokio::time::sleep(LINGER).await } => {}
    }
}

/// How long the backend may go on after the client said goodbye.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);
