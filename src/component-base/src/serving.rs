//! HTTP servers: HTTP/1.1 and HTTP/2 on one port, upgrades, and a graceful end.

mod corked;
mod streams;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use streams::{stay_for, stay_open};

use crate::memory;

/// The longest a TLS handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// How long an HTTP/1.1 connection may stay idle; longer than clients keep theirs (Go: 90 s), so that the client closes first.
const IDLE_LIMIT: Duration = Duration::from_mins(2);

/// How long requests in flight may go on after the stop; half of the grace period a static pod gets.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

/// What a connection needs about, with its buffers for TLS and HTTP/2.
const CONNECTION_BYTES: usize = 64 * 1024;

/// Seconds until a silent client is probed, seconds between probes, and how many may stay unanswered.
const CLIENT_SILENCE: (u32, u32, u32) = (15, 15, 3);

/// How many requests one connection of HTTP/2 may have open; Go's default.
const STREAMS: u32 = 250;

/// Rest after the system has no more descriptors to give, so that the accept loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The client's certificate chain, leaf first, verified by the handshake; absent if the client showed none.
#[derive(Clone, Debug)]
pub struct PeerCertificates(pub Arc<[CertificateDer<'static>]>);

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteAddr(pub SocketAddr);

/// A way to send the client of a request elsewhere: it is told to open a new connection for what it asks next, and what
/// it has asked goes on.
#[derive(Clone, Debug)]
pub struct LetGo(CancellationToken);

impl LetGo {
    /// Tells the client, once this request is answered at the latest.
    pub fn tell(&self) {
        self.0.cancel();
    }
}

/// A connection is told when to end, and waited for as long as it keeps this.
struct Watcher {
    end: CancellationToken,
    streams: u32,
    _alive: mpsc::Sender<()>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        memory::freed(CONNECTION_BYTES);
    }
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ServeError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

/// A bound port that does not serve yet: bind all ports first, then start.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    streams: u32,
}

impl Listener {
    /// Binds an address; port 0 lets the system choose.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let wrong = |source| ServeError { address, source };
        let tcp = TcpListener::bind(address).await.map_err(wrong)?;
        let address = tcp.local_addr().map_err(wrong)?;
        Ok(Self { tcp, address, streams: STREAMS })
    }

    /// Lets each connection of HTTP/2 have so many requests open; 0 is Go's default.
    #[must_use]
    pub fn with_streams(self, most: u32) -> Self {
        Self { streams: if most == 0 { STREAMS } else { most }, ..self }
    }

    /// The address with the port that was really bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves TLS until the token is cancelled, then drains.
    pub async fn serve_https<S, B>(self, config: Arc<ServerConfig>, service: S, token: CancellationToken)
    where
        S: Service<Request<Incoming>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let acceptor = TlsAcceptor::from(config);
        self.accept_until(token, |stream, remote, watcher| {
            tokio::spawn(tls_connection(acceptor.clone(), stream, remote, (service.clone(), watcher)));
        })
        .await;
    }

    /// Serves plain HTTP until the token is cancelled, then drains.
    pub async fn serve_http<S, B>(self, service: S, token: CancellationToken)
    where
        S: Service<Request<Incoming>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        self.accept_until(token, |stream, remote, watcher| {
            let let_go = LetGo(watcher.end.clone());
            let service = Tagged { inner: service.clone(), remote: RemoteAddr(remote), let_go, certificates: None };
            tokio::spawn(serve_connection(TokioIo::new(stream), service, watcher));
        })
        .await;
    }

    async fn accept_until(self, token: CancellationToken, mut start: impl FnMut(TcpStream, SocketAddr, Watcher)) {
        let (alive, mut all_gone) = mpsc::channel(1);
        loop {
            let accepted = tokio::select! {
                () = token.cancelled() => break,
                accepted = self.tcp.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => {
                    // Small answers must not wait for Nagle; failing to ask for that harms nobody.
                    let _ = stream.set_nodelay(true);
                    let _ = notice_loss(&stream);
                    let (end, alive) = (token.child_token(), alive.clone());
                    start(stream, remote, Watcher { end, streams: self.streams, _alive: alive });
                }
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop((self.tcp, alive));
        // Nobody ever sends: the channel ends with the last connection.
        if tokio::time::timeout(DRAIN_LIMIT, all_gone.recv()).await.is_err() {
            tracing::info!(address = %self.address, "ending with requests still in flight");
        }
    }
}

/// A client whose machine lost its power says nothing more: without probes its watches would stay for hours.
fn notice_loss(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &CLIENT_SILENCE.0)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &CLIENT_SILENCE.1)?;
    setsockopt(stream, sockopt::TcpKeepCount, &CLIENT_SILENCE.2)
}

/// Binds and serves TLS until the token is cancelled, then drains.
pub async fn serve_https<S, B>(
    address: SocketAddr,
    config: Arc<ServerConfig>,
    service: S,
    token: CancellationToken,
) -> Result<(), ServeError>
where
    S: Service<Request<Incoming>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    Listener::bind(address).await?.serve_https(config, service, token).await;
    Ok(())
}

/// Binds and serves plain HTTP until the token is cancelled, then drains.
pub async fn serve_http<S, B>(address: SocketAddr, service: S, token: CancellationToken) -> Result<(), ServeError>
where
    S: Service<Request<Incoming>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    Listener::bind(address).await?.serve_http(service, token).await;
    Ok(())
}

async fn tls_connection<S, B>(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    remote: SocketAddr,
    (service, watcher): (S, Watcher),
) where
    S: Service<Request<Incoming>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let stream = match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%remote, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%remote, "TLS handshake took too long"),
    };
    let certificates = stream.get_ref().1.peer_certificates().map(|chain| {
        let owned: Vec<_> = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        PeerCertificates(owned.into())
    });
    let let_go = LetGo(watcher.end.clone());
    let service = Tagged { inner: service, remote: RemoteAddr(remote), let_go, certificates };
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return serve_connection(TokioIo::new(stream), service, watcher).await;
    }
    // Many streams share the connection, and none of them can take it over.
    let (stream, cork) = corked::cork(stream);
    cork.drive(serve_connection(TokioIo::new(stream), service, watcher)).await;
}

async fn serve_connection<I, S, B>(io: I, service: Tagged<S>, watcher: Watcher)
where
    I: Read + Write + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = http::Response<B>> + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let remote = service.remote.0;
    let (streams, home) = streams::streams();
    let mut builder = auto::Builder::new(streams);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(watcher.streams)
        .keep_alive_interval(Duration::from_secs(30));
    let connection = builder.serve_connection_with_upgrades(io, service).into_owned();
    let ended = home.drive(async {
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = watcher.end.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    });
    if let Err(error) = ended.await {
        tracing::trace!(%remote, %error, "connection ended");
    }
}

/// Puts what is known of the connection into each request.
struct Tagged<S> {
    inner: S,
    remote: RemoteAddr,
    let_go: LetGo,
    certificates: Option<PeerCertificates>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Tagged<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.remote);
        request.extensions_mut().insert(self.let_go.clone());
        if let Some(certificates) = &self.certificates {
            request.extensions_mut().insert(certificates.clone());
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests;
