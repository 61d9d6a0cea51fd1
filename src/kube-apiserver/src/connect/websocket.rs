//! The WebSocket side of streams: which protocols a client offers, and how one of them is accepted.

use apimachinery::Status;
use http::StatusCode;
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::upgrade;
use crate::reply::{self, Response};

/// True if the request wants to become a WebSocket that speaks this protocol.
pub(super) fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offered = values.flat_map(|value| value.split(',')).map(str::trim);
    upgrade::is_websocket(headers) && offered.any(|name| name == protocol)
}

/// The answer that makes the connection a WebSocket of that protocol.
pub(super) fn accept(headers: &HeaderMap, protocol: &'static str) -> Result<Response, Status> {
    let wrong = || Status::bad_request("malformed WebSocket handshake");
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(wrong)?;
    let accepted = HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| wrong())?;
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(wrong());
    }
    let mut response = Response::new(reply::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    Ok(response)
}

/// The last message of a connection that ends as it should; clients take an end without a code for a failure.
pub(super) fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}
