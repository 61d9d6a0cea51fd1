//! The client of etcd: connection, health and what the server can do.

pub(crate) mod compact;
pub(crate) mod create_many;
mod failover;
mod lease;
mod members;
pub(crate) mod newest;
mod probe;
pub(crate) mod read;
pub(crate) mod watch;
mod write;

use crate::StorageError;
use etcd_client::{ConnectOptions, GetOptions};
use members::Members;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A key that is never written: reading it tells the current revision and nothing else.
const ABSENT_KEY: &str = "\u{1}absent";

/// How often a connection with open streams is tested; etcd refuses clients that do so more often than every 5 s.
const PING_EVERY: Duration = Duration::from_secs(6);
/// How long the answer may take before the connection counts as lost: all watches over it end then, so a member that is
/// only busy must have the time. Requests find out sooner whether it is there.
const PING_PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may take with its TLS handshake; who asks has turned to another member long before.
const CONNECT: Duration = Duration::from_secs(5);

/// How to reach etcd.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// URLs of the members, such as `https://127.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// The CA that signed the servers' certificates (PEM).
    pub ca: Option<PathBuf>,
    /// The client certificate (PEM).
    pub cert: Option<PathBuf>,
    /// The key of the client certificate (PEM).
    pub key: Option<PathBuf>,
    /// How long one request may take.
    pub request_timeout: Duration,
}

impl EtcdConfig {
    /// Settings for plain HTTP or, with `https` URLs, for TLS without a client certificate.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            ca: None,
            cert: None,
            key: None,
            request_timeout: Duration::from_secs(10),
        }
    }
}

/// A cheap handle to etcd; all clones share connections, leases and the batching of reads.
#[derive(Clone)]
pub struct Etcd {
    inner: Arc<Inner>,
}

struct Inner {
    members: Members,
    leases: lease::Leases,
    timeout: Duration,
    /// Whether a progress response never overtakes events (etcd 3.4.31, 3.5.13 and later).
    dependable_progress: AtomicBool,
    /// Whether a request was ever answered.
    answered: AtomicBool,
    /// How long answers take.
    usual: failover::Usual,
    arrivals: AtomicU64,
    freshest: tokio::sync::Mutex<Freshest>,
    asked: newest::Asked,
}

/// The last revision read, and the last caller it serves.
#[derive(Default)]
struct Freshest {
    serves: u64,
    revision: i64,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd").finish_non_exhaustive()
    }
}

impl Etcd {
    /// Connects, and asks every member for its version.
    ///
    /// # Errors
    /// Fails when a file of the settings is unreadable or no member answers.
    pub async fn connect(config: EtcdConfig) -> Result<Self, StorageError> {
        let etcd = Self::prepare(config).await?;
        let first = probe::ask(&etcd.inner).await?;
        if first == probe::Progress::Unknown {
            tokio::spawn(probe::ask_until_known(Arc::downgrade(&etcd.inner)));
        }
        Ok(etcd)
    }

    /// A client that need not be there yet: requests wait for it as long as one request may take.
    ///
    /// # Errors
    /// Fails when the settings are wrong or a file of them is unreadable.
    pub async fn open(config: EtcdConfig) -> Result<Self, StorageError> {
        let etcd = Self::prepare(config).await?;
        tokio::spawn(probe::ask_until_known(Arc::downgrade(&etcd.inner)));
        Ok(etcd)
    }

    async fn prepare(config: EtcdConfig) -> Result<Self, StorageError> {
        if config.endpoints.is_empty() {
            return Err(StorageError::Config { what: "no endpoints".to_owned() });
        }
        let options = connect_options(&config).await?;
        let inner = Arc::new(Inner {
            members: Members::new(&config.endpoints, &options).await?,
            leases: lease::Leases::default(),
            timeout: config.request_timeout,
            dependable_progress: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            usual: failover::Usual::default(),
            arrivals: AtomicU64::new(0),
            freshest: tokio::sync::Mutex::default(),
            asked: newest::Asked::default(),
        });
        Ok(Self { inner })
    }

    /// Whether progress requests on a watch can prove freshness; if not, readers fall back to quorum reads.
    pub fn has_dependable_progress(&self) -> bool {
        self.inner.dependable_progress.load(Ordering::Relaxed)
    }

    /// The newest revision of the whole store, by a linearizable read.
    ///
    /// Callers that arrive while a read is under way share the next one: a thousand of them cost two round trips.
    pub async fn current_revision(&self) -> Result<i64, StorageError> {
        let ticket = self.inner.arrivals.fetch_add(1, Ordering::SeqCst) + 1;
        let mut freshest = self.inner.freshest.lock().await;
        if freshest.serves >= ticket {
            return Ok(freshest.revision);
        }
        let serves = self.inner.arrivals.load(Ordering::SeqCst);
        let read = |member: &members::Member| {
            let mut kv = member.kv.clone();
            async move { kv.get(ABSENT_KEY, Some(GetOptions::new().with_count_only())).await }
        };
        let response = self.ask(failover::SMALL, read).await?;
        let revision = response.header().map(etcd_client::ResponseHeader::revision);
        let revision = revision.ok_or(StorageError::Malformed("no header"))?;
        *freshest = Freshest { serves, revision };
        Ok(revision)
    }

    /// Succeeds when a quorum of etcd answers.
    pub async fn is_healthy(&self) -> Result<(), StorageError> {
        self.current_revision().await.map(drop)
    }
}

async fn connect_options(config: &EtcdConfig) -> Result<ConnectOptions, StorageError> {
    let options = ConnectOptions::new()
        .with_connect_timeout(CONNECT)
        .with_keep_alive(PING_EVERY, PING_PATIENCE)
        .with_tcp_keepalive(PING_EVERY)
        .with_require_leader(true);
    if !config.endpoints.iter().any(|url| url.starts_with("https://")) {
        return Ok(options);
    }
    let mut tls = etcd_client::TlsOptions::new();
    if let Some(ca) = &config.ca {
        tls = tls.ca_certificate(etcd_client::Certificate::from_pem(read_file(ca).await?));
    }
    match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => {
            let (cert, key) = (read_file(cert).await?, read_file(key).await?);
            tls = tls.identity(etcd_client::Identity::from_pem(cert, key));
        }
        (None, None) => {}
        _ => {
            return Err(StorageError::Config { what: "certificate and key belong together".to_owned() });
        }
    }
    Ok(options.with_tls(tls))
}

async fn read_file(path: &Path) -> Result<Vec<u8>, StorageError> {
    tokio::fs::read(path).await.map_err(|source| StorageError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
