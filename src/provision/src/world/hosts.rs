//! Machines over SSH: one connection each, opened when first asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use ssh::{Connection, Endpoint, Host, HostKey, Identity, SshError};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Hosts, Infrastructure, Stream};
use crate::context::Ledger;

/// How often a port that nobody listens on yet is tried: there is no event to wait for.
const RETRY: Duration = Duration::from_millis(100);
const SSH_PORT: u16 = 22;
/// How long a login may take once a connection stands: a busy machine is not one that is off, and must not be taken for one.
const LOGIN: Duration = Duration::from_secs(20);

/// Real SSH connections.
pub struct SshHosts {
    infrastructure: Arc<dyn Infrastructure>,
    ledger: Arc<Ledger>,
    identity: Identity,
    user: String,
    open: Mutex<BTreeMap<String, Slot>>,
}

/// One machine's connection; the lock is held while it is opened, so that it is opened once.
type Slot = Arc<Mutex<Option<Arc<Connection>>>>;

impl SshHosts {
    /// Logs in as `user` with `identity`.
    pub fn new(infrastructure: Arc<dyn Infrastructure>, ledger: Arc<Ledger>, identity: Identity, user: &str) -> Self {
        Self { infrastructure, ledger, identity, user: user.to_owned(), open: Mutex::default() }
    }

    async fn open(&self, name: &str, patience: Duration) -> Result<Connection> {
        let key = self.ledger.host_key(name).with_context(|| format!("the SSH host key of {name} is not known"))?;
        let endpoint = Endpoint {
            name: name.to_owned(),
            user: self.user.clone(),
            host_key: HostKey::parse(&format!("the host key of {name}"), &key)?,
            identity: self.identity.clone(),
        };
        let deadline = Instant::now() + patience;
        loop {
            let dialled = tokio::time::timeout_at(deadline, self.infrastructure.dial(name, SSH_PORT)).await;
            let attempt = match dialled {
                Ok(Ok(stream)) => Self::log_in(stream, &endpoint).await,
                Ok(Err(error)) => Err(error),
                Err(_) => bail!("{name} does not answer on port {SSH_PORT} within {patience:?}"),
            };
            match attempt {
                Ok(connection) => return Ok(connection),
                // Waiting does not change who answers.
                Err(error) if is_final(&error) => return Err(error),
                Err(error) if Instant::now() + RETRY > deadline => return Err(error),
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    async fn log_in(stream: Stream, endpoint: &Endpoint) -> Result<Connection> {
        match tokio::time::timeout(LOGIN, Connection::open(stream, endpoint)).await {
            Ok(connection) => Ok(connection?),
            Err(_) => bail!("{} takes connections and does not let us in within {LOGIN:?}", endpoint.name),
        }
    }
}

fn is_final(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(SshError::HostKeyChanged { .. } | SshError::Refused { .. }))
}

#[async_trait]
impl Hosts for SshHosts {
    async fn connect(&self, name: &str, patience: Duration) -> Result<Arc<dyn Host>> {
        let slot = Arc::clone(self.open.lock().await.entry(name.to_owned()).or_default());
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(Arc::clone(connection) as Arc<dyn Host>);
        }
        let connection = Arc::new(self.open(name, patience).await?);
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }
}
