//! The client of the API servers: a kubeconfig becomes a `kube::Client`.
//!
//! Besides the one address in `server`, the cluster of a kubeconfig may list all API servers, so that losing one of
//! them, or the balancer before them, cuts nobody off:
//!
//! ```yaml
//! clusters:
//! - name: kubernetes
//!   cluster:
//!     server: https://api.example:6443
//!     extensions:
//!     - name: provision.dev/api-servers
//!       extension:
//!         addresses: ["10.80.0.10:6443", "10.80.0.11:6443"]
//! ```
//!
//! Other clients ignore the extension. Read [`servers`] for which server is asked first, `connector` for how a
//! connection is made, `failover` for what an answer tells about its server, `liveness` for how one that hangs is left,
//! `first_answer` for what is different while a cluster starts.
//!
//! All watches and requests of a program go over one connection with HTTP/2, as those of client-go do: a handshake costs
//! a small machine more than a hundred requests do, and servers keep less for one connection than for many.

mod connector;
mod failover;
mod first_answer;
mod liveness;
pub mod servers;
mod stream;
mod wires;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt, DynBody};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::util::BoxService;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use connector::Connector;
use failover::Failover;
use first_answer::Retries;
use servers::Servers;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig file cannot be read or understood.
    #[error("cannot use the kubeconfig {path}", path = path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// The program does not run in a pod with a service account.
    #[error("cannot use the service account of this pod")]
    InCluster(#[source] Box<kube::config::InClusterError>),
    /// The user agent is not a header value.
    #[error("the user agent is not a valid header value")]
    UserAgent,
    /// TLS or the HTTP stack cannot be set up.
    #[error("cannot set up the connection to the API server")]
    Build(#[source] Box<kube::Error>),
}

/// How to reach the API servers and as whom; clones share their connections and what is known about the servers.
#[derive(Clone)]
pub struct Settings {
    config: Config,
    servers: Arc<Servers>,
    /// None until the first client is made.
    wire: Arc<Mutex<Option<Failover>>>,
}

/// The layers between a `kube::Client` and the wire.
pub type Stack = BoxService<Request<Body>, Response<Box<DynBody>>, BoxError>;

/// A client for the current context of a kubeconfig; nothing is sent yet.
///
/// There is no read timeout, because watches and exec sessions are one long response; a server that is gone is
/// noticed by TCP within seconds, one that hangs by its silence if there is another one to turn to.
pub async fn connect(kubeconfig: &Path, user_agent: &str) -> Result<Client, ClientError> {
    Ok(Settings::read(kubeconfig).await?.builder(user_agent)?.build())
}

/// A client with the service account of the pod the program runs in.
#[expect(clippy::unused_async, reason = "same shape as connect")]
pub async fn in_cluster(user_agent: &str) -> Result<Client, ClientError> {
    let config = Config::incluster().map_err(|source| ClientError::InCluster(Box::new(source)))?;
    Ok(Settings::new(config, Servers::none()).builder(user_agent)?.build())
}

impl Settings {
    fn new(config: Config, servers: Servers) -> Self {
        Self { config, servers: Arc::new(servers), wire: Arc::default() }
    }

    /// The settings of the current context of a kubeconfig.
    pub async fn read(kubeconfig: &Path) -> Result<Self, ClientError> {
        let wrong = |source| ClientError::Kubeconfig { path: kubeconfig.to_owned(), source: Box::new(source) };
        let parsed = Kubeconfig::read_from(kubeconfig).map_err(wrong)?;
        let authority = servers::current_cluster(&parsed).and_then(|cluster| cluster.certificate_authority.clone());
        let mut config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await.map_err(wrong)?;
        // An authority in a file of its own is followed.
        config.root_cert_file = authority.map(PathBuf::from);
        Ok(Self::new(config, Servers::of_kubeconfig(kubeconfig)))
    }

    /// The same servers, but nobody's credentials, and hence connections of their own.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        self.config.auth_info = AuthInfo::default();
        self.wire = Arc::default();
        self
    }

    /// A client to which layers can be added before it is built.
    pub fn builder(mut self, user_agent: &str) -> Result<ClientBuilder<Stack>, ClientError> {
        let agent = http::HeaderValue::from_str(user_agent).map_err(|_| ClientError::UserAgent)?;
        self.config.headers.push((http::header::USER_AGENT, agent));
        // An error means that the provider is set already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let namespace = self.config.default_namespace.clone();
        let stack = self.stack().map_err(|source| ClientError::Build(Box::new(source)))?;
        Ok(ClientBuilder::new(stack, namespace))
    }

    /// As kube's own stack, with our connector below and [`Failover`] in between.
    fn stack(self) -> Result<Stack, kube::Error> {
        let wire = self.wire()?;
        let stack = ServiceBuilder::new()
            .layer(self.config.base_uri_layer())
            .layer(RetryLayer::new(Retries::new(retries(), self.servers)))
            .option_layer(self.config.auth_layer()?)
            .layer(self.config.extra_headers_layer()?)
            .map_err(BoxError::from)
            .service(wire);
        Ok(stack
            .map_response(|response: Response<wires::Seated>| {
                response.map(|body| Box::new(http_body_util::BodyExt::map_err(body, BoxError::from)) as Box<DynBody>)
            })
            .boxed())
    }

    fn wire(&self) -> Result<Failover, kube::Error> {
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wire) = &*wire {
            return Ok(wire.clone());
        }
        let connector = Connector::new(&self.config, Arc::clone(&self.servers))?;
        Ok(wire.insert(Failover::new(connector, Arc::clone(&self.servers))).clone())
    }
}

/// A server that is busy or has just lost its etcd is asked again, or another one is. Not for long: whoever asks has a
/// rhythm of its own, and must not sleep here while a server has come back.
fn retries() -> RetryPolicy {
    RetryPolicy::new(Duration::from_millis(20), Duration::from_millis(500), 6, true).expect("the bounds are in order")
}

#[cfg(test)]
mod tests;
