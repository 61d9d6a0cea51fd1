//! One request to somebody else over a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::Status;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::reply::Body;

/// The longest a connection may take to be made, unless somebody says otherwise.
pub const DIAL_LIMIT: Duration = Duration::from_secs(30);

/// What belongs to one hop and is not passed on (RFC 9110, section 7.6.1).
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Who somebody is, is between them and this server.
const SECRET: &[&str] = &["authorization", "cookie", "host"];
const SECRET_PREFIXES: &[&str] = &["impersonate-", "x-remote-"];
/// How a WebSocket client that cannot set headers sends its token.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Somebody who can be sent a request.
#[derive(Clone, Debug)]
pub struct Target {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// TLS, if it is spoken.
    pub tls: Option<Arc<ClientConfig>>,
    /// How long a connection may take to be made.
    pub dial_limit: Duration,
}

impl Target {
    /// Host and port, as they stand in an address.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A request without hop-by-hop headers and credentials.
pub fn request(
    target: &Target,
    method: Method,
    path: PathAndQuery,
    headers: &HeaderMap,
    body: Body,
) -> Result<Request<Body>, Status> {
    let host = HeaderValue::try_from(target.authority()).map_err(|_| Status::bad_request("invalid host"))?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path.into();
    pass_on(headers, request.headers_mut());
    request.headers_mut().insert(header::HOST, host);
    Ok(request)
}

/// Copies what may be passed on.
pub fn pass_on(from: &HeaderMap, to: &mut HeaderMap) {
    let named: Vec<String> = from
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for (name, value) in from {
        let text = name.as_str();
        let kept = HOP_BY_HOP.contains(&text)
            || SECRET.contains(&text)
            || SECRET_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
            || named.iter().any(|other| other == text);
        if !kept {
            append(to, name, value);
        }
    }
}

fn append(to: &mut HeaderMap, name: &HeaderName, value: &HeaderValue) {
    if name != header::SEC_WEBSOCKET_PROTOCOL {
        to.append(name, value.clone());
        return;
    }
    let Ok(text) = value.to_str() else { return };
    let protocols: Vec<&str> =
        text.split(',').map(str::trim).filter(|protocol| !protocol.starts_with(TOKEN_PROTOCOL)).collect();
    if let Ok(value) = HeaderValue::try_from(protocols.join(", ")) {
        to.append(name, value);
    }
}

/// Sends a request and returns the head of the answer; its body and upgrade follow on the same connection.
pub async fn send(target: &Target, request: Request<Body>) -> Result<http::Response<Incoming>, Status> {
    let answer = try_send(target, request).await;
    answer.map_err(|why| Status::internal(format!("error dialing backend: {why}")))
}

/// [`send`], for those who tell of a failure in their own words.
///
/// # Errors
/// Why there is no answer.
pub async fn try_send(target: &Target, request: Request<Body>) -> Result<http::Response<Incoming>, String> {
    let dialled = tokio::time::timeout(target.dial_limit, dial(target)).await;
    let stream = dialled
        .map_err(|_| format!("dial tcp {}: i/o timeout", target.authority()))?
        .map_err(|error| format!("dial tcp {}: {}", target.authority(), reason(&error)))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        // An error of the connection reaches whoever reads the answer.
        let _ = connection.with_upgrades().await;
    });
    sender.send_request(request).await.map_err(|error| error.to_string())
}

/// The commonest failure in the words that people know from upstream.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        _ => error.to_string(),
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn dial(target: &Target) -> std::io::Result<Box<dyn Stream>> {
    let tcp = TcpStream::connect((target.host.as_str(), target.port)).await?;
    tcp.set_nodelay(true)?;
    let Some(tls) = &target.tls else {
        return Ok(Box::new(tcp));
    };
    let name = ServerName::try_from(target.host.clone()).map_err(std::io::Error::other)?;
    Ok(Box::new(TlsConnector::from(tls.clone()).connect(name, tcp).await?))
}

#[cfg(test)]
mod tests;
