//! A connection to the first API server that answers.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::Uri;
use hyper_util::rt::TokioIo;
use kube::Config;
use kube::client::ConfigExt;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::Service;

use super::first_answer::STEP;
use super::liveness::Tie;
use super::servers::Servers;
use super::stream::{Origin, Stream, Transport};

/// How long one server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// How long the one address of a kubeconfig without a list may take: there is nobody else to ask.
const CONNECT_ONLY: Duration = Duration::from_secs(10);
/// The lead of one server over the next.
const STAGGER: Duration = Duration::from_millis(300);
/// How long a server that accepted may take for the TLS handshake; a process that hangs accepts and says nothing.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// After this long without the end of a handshake the next server is asked as well.
const HANDSHAKE_LEAD: Duration = Duration::from_secs(4);
/// Probes of a silent connection: after the first second, one each second, and three without an answer are its end.
const PROBES: u32 = 3;
/// How long sent data may stay without acknowledgement.
const UNACKNOWLEDGED_MILLIS: u32 = 3000;

/// What TLS calls the protocols (RFC 7301).
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the address of the API server has no host")]
    NoHost,
    #[error("the name {name} of the API server cannot be looked up")]
    Lookup {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("no API server answers (tried {})", tried.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Nobody {
        tried: Vec<SocketAddr>,
        #[source]
        source: io::Error,
    },
    #[error("TLS for the API server cannot be set up")]
    Tls(#[source] Box<kube::Error>),
    #[error("{name} is no name a certificate can have")]
    ServerName { name: String },
}

/// Makes connections for hyper's client.
#[derive(Clone)]
pub(super) struct Connector {
    servers: Arc<Servers>,
    tls: Arc<Tls>,
}

/// When files were changed last.
pub(super) type Stamps = Vec<Option<SystemTime>>;

/// The TLS settings, made again when the files of the client certificate changed.
struct Tls {
    config: Config,
    files: Vec<PathBuf>,
    made: Mutex<Option<(Stamps, Arc<ClientConfig>)>>,
}

impl Connector {
    pub(super) fn new(config: &Config, servers: Arc<Servers>) -> Result<Self, kube::Error> {
        Ok(Self { servers, tls: Arc::new(Tls::new(config.clone())?) })
    }

    /// Changes when the files of the client certificate do.
    pub(super) fn stamps(&self) -> Stamps {
        stamps(&self.tls.files)
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<Stream>, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NoHost)?.trim_start_matches('[').trim_end_matches(']');
        let is_tls = uri.scheme() != Some(&http::uri::Scheme::HTTP);
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let mut left = self.servers.candidates();
        let patience = if left.is_empty() { CONNECT_ONLY } else { CONNECT };
        match resolve(host, port).await {
            Ok(last_resort) => left.extend(last_resort),
            // The list works without names.
            Err(error) if left.is_empty() => return Err(error),
            Err(error) => tracing::debug!(%error, "only the listed API servers are asked"),
        }
        let mut seen = HashSet::new();
        left.retain(|address| seen.insert(*address));
        let run = Run {
            name: is_tls.then_some(host),
            patience,
            tried: left.clone(),
            left: Mutex::new(left),
            shaking: Mutex::default(),
        };
        let (address, transport) = self.first(&run).await?;
        self.servers.reached(address);
        let tie = self.servers.has_alternatives().then(|| self.tie(address, host, is_tls));
        Ok(TokioIo::new(Stream { transport, origin: Origin(address), tie }))
    }

    /// The first server to be ready for requests; one that accepts has a lead over the next while it shakes hands.
    async fn first(&self, run: &Run<'_>) -> Result<(SocketAddr, Transport), ConnectError> {
        let mut attempts = FuturesUnordered::new();
        attempts.push(self.attempt(run));
        loop {
            tokio::select! {
                biased;
                Some(outcome) = attempts.next() => match outcome {
                    Ok((address, transport)) => {
                        // Whoever accepted earlier and is not ready yet hangs, or has no time.
                        run.shaking().iter().for_each(|slow| self.servers.failed(*slow));
                        return Ok((address, transport));
                    }
                    Err(Handshake::Setup(error)) => return Err(error),
                    Err(Handshake::Failed(error)) => {
                        tracing::debug!(%error, "no connection, asking the next server");
                        if !run.left().is_empty() {
                            attempts.push(self.attempt(run));
                        } else if attempts.is_empty() {
                            return Err(ConnectError::Nobody { tried: run.tried.clone(), source: error });
                        }
                    }
                },
                () = tokio::time::sleep(HANDSHAKE_LEAD), if !run.left().is_empty() => attempts.push(self.attempt(run)),
            }
        }
    }

    async fn attempt(&self, run: &Run<'_>) -> Result<(SocketAddr, Transport), Handshake> {
        let (address, socket) = self.race(run).await.map_err(Handshake::Failed)?;
        let Some(name) = run.name else { return Ok((address, Transport::Plain(socket))) };
        run.shaking().push(address);
        let shaken = self.tls.handshake(name, socket, &[HTTP2, HTTP1]).await;
        run.shaking().retain(|other| *other != address);
        match shaken {
            Ok(transport) => Ok((address, transport)),
            Err(error) => {
                self.servers.failed(address);
                Err(error)
            }
        }
    }

    /// The first of those left to accept; each has a short lead over the next.
    ///
    /// Those that were asked are taken out, and those that were slower than a later one count as failed: nobody shall
    /// wait for them again and again.
    async fn race(&self, run: &Run<'_>) -> Result<(SocketAddr, TcpStream), io::Error> {
        let mut running = FuturesUnordered::new();
        let mut asked = Vec::new();
        let mut last = io::Error::from(io::ErrorKind::NotConnected);
        loop {
            let next = run.next();
            if let Some(address) = next {
                asked.push(address);
                running.push(async move { (address, open(address, run.patience).await) });
            }
            tokio::select! {
                biased;
                Some((address, outcome)) = running.next() => match outcome {
                    Ok(socket) => {
                        asked.iter().take_while(|other| **other != address).for_each(|slow| self.servers.failed(*slow));
                        return Ok((address, socket));
                    }
                    Err(error) => {
                        self.servers.failed(address);
                        asked.retain(|other| *other != address);
                        last = error;
                        if !run.left().is_empty() && !self.servers.first_answer.came() {
                            tokio::time::sleep(STEP).await;
                        }
                    }
                },
                () = tokio::time::sleep(STAGGER), if !run.left().is_empty() => {}
                else => return Err(last),
            }
        }
    }

    /// Ties a connection to what is known of its server; the first one brings a guard with it.
    fn tie(&self, address: SocketAddr, host: &str, is_tls: bool) -> Tie {
        let (peer, new) = self.servers.peers.enter(address);
        if let Some(signs) = new {
            let (connector, host) = (self.clone(), host.to_owned());
            tokio::spawn(async move {
                let probe = || connector.shows_life(address, &host, is_tls);
                if signs.guard(connector.servers.patience, probe).await {
                    tracing::warn!(server = %address, "the API server hangs, its connections are given up");
                    connector.servers.hangs(address);
                    signs.give_up();
                }
            });
        }
        Tie::new(peer)
    }

    /// Whether a server says anything at all on a new connection.
    async fn shows_life(&self, address: SocketAddr, host: &str, is_tls: bool) -> bool {
        let ask = async {
            let socket = open(address, self.servers.patience.probe).await?;
            let transport = if is_tls {
                self.tls.handshake(host, socket, &[HTTP1]).await.map_err(|_| io::ErrorKind::ConnectionRefused)?
            } else {
                Transport::Plain(socket)
            };
            let mut stream = Stream { transport, origin: Origin(address), tie: None };
            let request = format!("GET /livez/ping HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            stream.flush().await?;
            stream.read(&mut [0]).await
        };
        ask.await.is_ok_and(|read: usize| read > 0)
    }
}

/// The making of one connection.
struct Run<'a> {
    /// The name to expect in the certificate; none without TLS.
    name: Option<&'a str>,
    patience: Duration,
    tried: Vec<SocketAddr>,
    left: Mutex<Vec<SocketAddr>>,
    /// Those that accepted and have not ended the handshake.
    shaking: Mutex<Vec<SocketAddr>>,
}

impl Run<'_> {
    fn left(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shaking(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.shaking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<SocketAddr> {
        let mut left = self.left();
        (!left.is_empty()).then(|| left.remove(0))
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let wrong = |source| ConnectError::Lookup { name: host.to_owned(), source };
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await.map_err(wrong)?.collect();
    if found.is_empty() {
        return Err(wrong(io::Error::from(io::ErrorKind::NotFound)));
    }
    Ok(found)
}

async fn open(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let socket = timeout(patience, TcpStream::connect(address)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    socket.set_nodelay(true)?;
    let fd = socket.as_fd();
    setsockopt(&fd, sockopt::KeepAlive, &true)?;
    setsockopt(&fd, sockopt::TcpKeepIdle, &1)?;
    setsockopt(&fd, sockopt::TcpKeepInterval, &1)?;
    setsockopt(&fd, sockopt::TcpKeepCount, &PROBES)?;
    setsockopt(&fd, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MILLIS)?;
    Ok(socket)
}

enum Handshake {
    Setup(ConnectError),
    Failed(io::Error),
}

impl Tls {
    fn new(config: Config) -> Result<Self, kube::Error> {
        let auth = &config.auth_info;
        let files = [&auth.client_certificate, &auth.client_key];
        let files: Vec<PathBuf> = files.into_iter().flatten().map(PathBuf::from).collect();
        let tls = Self { config, files, made: Mutex::new(None) };
        if tls.config.cluster_url.scheme() != Some(&http::uri::Scheme::HTTP) {
            // What is wrong shall be told at the start, not at the first request.
            tls.settings()?;
        }
        Ok(tls)
    }

    /// `protocols` are offered in this order, and one of them is agreed on.
    async fn handshake(&self, host: &str, socket: TcpStream, protocols: &[&[u8]]) -> Result<Transport, Handshake> {
        let name = self.config.tls_server_name.as_deref().unwrap_or(host).to_owned();
        let server =
            ServerName::try_from(name.clone()).map_err(|_| Handshake::Setup(ConnectError::ServerName { name }))?;
        let settings = self.settings().map_err(|error| Handshake::Setup(ConnectError::Tls(Box::new(error))))?;
        let offered = protocols.iter().map(|name| name.to_vec()).collect();
        let connector = TlsConnector::from(settings);
        match timeout(HANDSHAKE, connector.with_alpn(offered).connect(server, socket)).await {
            Ok(Ok(stream)) => Ok(Transport::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(Handshake::Failed(error)),
            Err(_) => Err(Handshake::Failed(io::Error::from(io::ErrorKind::TimedOut))),
        }
    }

    fn settings(&self) -> Result<Arc<ClientConfig>, kube::Error> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if let Some((seen, settings)) = &*made
            && *seen == stamps
        {
            return Ok(Arc::clone(settings));
        }
        match (self.config.rustls_client_config(), &*made) {
            (Ok(settings), before) => {
                if before.is_some() {
                    tracing::info!(files = ?self.files, "the client certificate changed");
                }
                let settings = Arc::new(settings);
                *made = Some((stamps, Arc::clone(&settings)));
                Ok(settings)
            }
            // The stamps stay old, so a pair that is half written is tried again.
            (Err(error), Some((_, old))) => {
                tracing::warn!(files = ?self.files, %error, "the changed client certificate cannot be used yet");
                Ok(Arc::clone(old))
            }
            (Err(error), None) => Err(error),
        }
    }
}

fn stamps(files: &[PathBuf]) -> Stamps {
    files.iter().map(|file| std::fs::metadata(file).and_then(|meta| meta.modified()).ok()).collect()
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
