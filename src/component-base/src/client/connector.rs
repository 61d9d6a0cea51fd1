//! A connection to the first API server that answers.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
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
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::Service;

use super::servers::Servers;
use super::stream::{Origin, Stream, Transport};

/// How long one server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// How long the one address of a kubeconfig without a list may take: there is nobody else to ask.
const CONNECT_ONLY: Duration = Duration::from_secs(10);
/// The lead of one server over the next.
const STAGGER: Duration = Duration::from_millis(300);
/// How long a server that accepted may take for the TLS handshake; a process that hangs accepts and says nothing.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Probes of a silent connection: after the first second, one each second, and three without an answer are its end.
const PROBES: u32 = 3;
/// How long sent data may stay without acknowledgement.
const UNACKNOWLEDGED_MILLIS: u32 = 3000;

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
type Stamps = Vec<Option<SystemTime>>;

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
        let mut seen = std::collections::HashSet::new();
        left.retain(|address| seen.insert(*address));
        let tried = left.clone();
        loop {
            let (address, socket) = match self.race(&mut left, patience).await {
                Ok(first) => first,
                Err(source) => return Err(ConnectError::Nobody { tried, source }),
            };
            let transport = if is_tls { self.tls.handshake(host, socket).await } else { Ok(Transport::Plain(socket)) };
            match transport {
                Ok(transport) => {
                    self.servers.reached(address);
                    return Ok(TokioIo::new(Stream { transport, origin: Origin(address) }));
                }
                Err(Handshake::Setup(error)) => return Err(error),
                Err(Handshake::Failed(error)) => {
                    self.servers.failed(address);
                    if left.is_empty() {
                        return Err(ConnectError::Nobody { tried, source: error });
                    }
                    tracing::debug!(server = %address, %error, "the handshake failed, asking the next server");
                }
            }
        }
    }

    /// The first of `left` to accept; each has a short lead over the next.
    ///
    /// Those that were asked are taken out of `left`, and those that were slower than a later one count as failed:
    /// nobody shall wait for them again and again.
    async fn race(&self, left: &mut Vec<SocketAddr>, patience: Duration) -> Result<(SocketAddr, TcpStream), io::Error> {
        let mut running = FuturesUnordered::new();
        let mut asked = Vec::new();
        let mut last = io::Error::from(io::ErrorKind::NotConnected);
        loop {
            if !left.is_empty() {
                let address = left.remove(0);
                asked.push(address);
                running.push(async move { (address, open(address, patience).await) });
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
                    }
                },
                () = tokio::time::sleep(STAGGER), if !left.is_empty() => {}
                else => return Err(last),
            }
        }
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

    async fn handshake(&self, host: &str, socket: TcpStream) -> Result<Transport, Handshake> {
        let name = self.config.tls_server_name.as_deref().unwrap_or(host).to_owned();
        let server =
            ServerName::try_from(name.clone()).map_err(|_| Handshake::Setup(ConnectError::ServerName { name }))?;
        let settings = self.settings().map_err(|error| Handshake::Setup(ConnectError::Tls(Box::new(error))))?;
        match timeout(HANDSHAKE, TlsConnector::from(settings).connect(server, socket)).await {
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
