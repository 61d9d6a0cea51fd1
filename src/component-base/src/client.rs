//! The client of the API server: a kubeconfig becomes a `kube::Client`.

use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

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

/// A client for the current context of a kubeconfig; nothing is sent yet.
///
/// There is no read timeout, because watches and exec sessions are one long response.
pub async fn connect(kubeconfig: &Path, user_agent: &str) -> Result<Client, ClientError> {
    build(config(kubeconfig).await?, user_agent)
}

/// The settings of the current context of a kubeconfig, for callers that adjust them before building a client.
pub async fn config(kubeconfig: &Path) -> Result<Config, ClientError> {
    let wrong = |source| ClientError::Kubeconfig { path: kubeconfig.to_owned(), source: Box::new(source) };
    let parsed = Kubeconfig::read_from(kubeconfig).map_err(wrong)?;
    Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await.map_err(wrong)
}

/// A client with the service account of the pod the program runs in.
#[expect(clippy::unused_async, reason = "same shape as connect")]
pub async fn in_cluster(user_agent: &str) -> Result<Client, ClientError> {
    let config = Config::incluster().map_err(|source| ClientError::InCluster(Box::new(source)))?;
    build(config, user_agent)
}

/// A client from settings.
pub fn build(mut config: Config, user_agent: &str) -> Result<Client, ClientError> {
    let agent = http::HeaderValue::from_str(user_agent).map_err(|_| ClientError::UserAgent)?;
    config.headers.push((http::header::USER_AGENT, agent));
    config.read_timeout = None;
    // An error means that the provider is set already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::try_from(config).map_err(|source| ClientError::Build(Box::new(source)))
}
