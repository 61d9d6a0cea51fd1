//! A client that costs little: HTTP/2 over TLS as Go clients speak it, bodies read and thrown away.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::objects::Encoding;

/// The windows of client-go's transport.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;

/// How a server is reached.
#[derive(Clone)]
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whom the client trusts and who it is.
    pub tls: Arc<ClientConfig>,
}

/// One connection; clones share it.
#[derive(Clone)]
pub struct Line {
    sender: SendRequest<Full<Bytes>>,
    base: String,
}

/// What is asked of a server.
#[derive(Clone, Debug)]
pub struct Question {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The body; empty for none.
    pub body: Bytes,
    /// The encoding of the body and of the answer.
    pub encoding: Encoding,
}

impl Question {
    /// A read.
    pub fn get(path: impl Into<String>, encoding: Encoding) -> Self {
        Self { method: Method::GET, path: path.into(), body: Bytes::new(), encoding }
    }
}

impl Door {
    /// Opens a connection.
    ///
    /// # Errors
    /// If nobody listens or the handshake fails.
    pub async fn connect(&self) -> anyhow::Result<Line> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        // It ends when the last sender is dropped or the server goes away; requests tell of failures.
        tokio::spawn(connection);
        Ok(Line { sender, base: format!("https://{}", self.address) })
    }
}

impl Line {
    /// Asks and takes the answer's body as a stream.
    ///
    /// # Errors
    /// If the server refuses or the connection breaks.
    pub async fn open(&self, question: &Question) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(&question.method)
            .uri(format!("{}{}", self.base, question.path))
            .header(header::ACCEPT, question.encoding.accept(&question.path))
            .header(header::USER_AGENT, "bench/1");
        if !question.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, question.encoding.media_type());
        }
        let request = request.body(Full::new(question.body.clone()))?;
        let response = self.sender.clone().send_request(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        bail!("{} {}: {status}: {}", question.method, question.path, String::from_utf8_lossy(&body))
    }

    /// Asks and takes in the whole answer.
    ///
    /// # Errors
    /// If the server refuses or the connection breaks.
    pub async fn whole(&self, question: &Question) -> anyhow::Result<Bytes> {
        Ok(self.open(question).await?.into_body().collect().await?.to_bytes())
    }

    /// Asks and counts the bytes of the answer without keeping them.
    ///
    /// # Errors
    /// If the server refuses or the connection breaks.
    pub async fn size(&self, question: &Question) -> anyhow::Result<usize> {
        let mut body = self.open(question).await?.into_body();
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            size += frame.context("the answer broke off")?.data_ref().map_or(0, Bytes::len);
        }
        Ok(size)
    }
}
