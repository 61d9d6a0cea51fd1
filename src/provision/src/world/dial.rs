//! HTTPS to API servers and etcd's members by their machines: not through a balancer, which may be what is being mended.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::{Layer as _, Service};

use super::{Infrastructure, Stream};

/// How long a machine may take to accept a connection: its kernel does, however busy its programs are.
const CONNECT: Duration = Duration::from_secs(5);

/// Opens connections to a port of the first of these machines that lets us.
#[derive(Clone)]
pub(super) struct Dialer {
    infrastructure: Arc<dyn Infrastructure>,
    port: u16,
    machines: Arc<Mutex<Vec<String>>>,
}

/// A connection as hyper wants it.
pub(super) struct Dialed(Stream);

impl Dialer {
    pub(super) fn new(infrastructure: &Arc<dyn Infrastructure>, port: u16, machines: Vec<String>) -> Self {
        Self { infrastructure: Arc::clone(infrastructure), port, machines: Arc::new(Mutex::new(machines)) }
    }

    /// A client with the rights of the kubeconfig's user.
    pub(super) async fn client(&self, kubeconfig: &str) -> Result<Client> {
        let kubeconfig = Kubeconfig::from_yaml(kubeconfig).context("the cluster's kubeconfig cannot be read")?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        self.connect(config.context("the cluster's kubeconfig cannot be used")?)
    }

    /// A client with these certificates, for the server that `config` names.
    pub(super) fn connect(&self, config: Config) -> Result<Client> {
        let connector = config.rustls_https_connector_with_connector(self.clone()).context("cannot set up TLS")?;
        let http = HyperClient::builder(TokioExecutor::new()).build(connector);
        Ok(Client::new(config.base_uri_layer().layer(http), config.default_namespace))
    }

    async fn open(self) -> Result<Dialed> {
        let machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut last = None;
        for machine in machines {
            let dialled = tokio::time::timeout(CONNECT, self.infrastructure.dial(&machine, self.port)).await;
            match dialled.unwrap_or_else(|_| Err(anyhow!("{machine} does not take a connection within {CONNECT:?}"))) {
                Ok(stream) => {
                    self.prefer(&machine);
                    return Ok(Dialed(stream));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("there is no machine to connect to")?)
    }

    /// The next connection tries first what has just worked.
    fn prefer(&self, machine: &str) {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        machines.sort_by_key(|known| known != machine);
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Dialed>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { Ok(TokioIo::new(dialer.open().await?)) })
    }
}

impl Connection for Dialed {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Dialed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Dialed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
