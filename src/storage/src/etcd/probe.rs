//! What the members of etcd can do, by their versions.

use super::{EtcdConfig, Inner};
use crate::StorageError;
use etcd_client::{Client, ConnectOptions};
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;

/// How often members that were silent at the start are asked again.
const AGAIN: Duration = Duration::from_secs(30);

/// Whether progress responses may be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All members are new enough.
    Dependable,
    /// A member is too old, and one is enough: a watch may land on it.
    Broken,
    /// A member did not say.
    Unknown,
}

/// Asks each member by itself.
pub(super) struct Probe {
    endpoints: Vec<String>,
    options: ConnectOptions,
    timeout: Duration,
}

impl Probe {
    pub(super) fn new(config: &EtcdConfig, options: ConnectOptions) -> Self {
        let endpoints = config.endpoints.clone();
        Self { endpoints, options, timeout: config.request_timeout }
    }

    /// Asks all members at once.
    ///
    /// # Errors
    /// Fails when none answers.
    pub(super) async fn ask(&self) -> Result<Progress, StorageError> {
        let mut members = JoinSet::new();
        for endpoint in &self.endpoints {
            let ask = version(endpoint.clone(), self.options.clone());
            members.spawn(tokio::time::timeout(self.timeout, ask));
        }
        let mut progress = Progress::Dependable;
        let mut answered = false;
        let mut failure = StorageError::Timeout;
        while let Some(member) = members.join_next().await {
            match member {
                Ok(Ok(Ok(version))) => {
                    answered = true;
                    if !progress_is_dependable(&version) {
                        progress = Progress::Broken;
                    }
                    continue;
                }
                Ok(Ok(Err(error))) => failure = error.into(),
                Ok(Err(_)) | Err(_) => {}
            }
            if progress == Progress::Dependable {
                progress = Progress::Unknown;
            }
        }
        if answered { Ok(progress) } else { Err(failure) }
    }

    /// Asks again and again until every member has said what it is, or nobody uses the client any more.
    pub(super) async fn ask_until_known(self, inner: Weak<Inner>) {
        loop {
            tokio::time::sleep(AGAIN).await;
            let progress = self.ask().await;
            let Some(inner) = inner.upgrade() else { return };
            if let Ok(Progress::Dependable | Progress::Broken) = progress {
                let dependable = matches!(progress, Ok(Progress::Dependable));
                inner.dependable_progress.store(dependable, Ordering::Relaxed);
                return;
            }
        }
    }
}

async fn version(endpoint: String, options: ConnectOptions) -> Result<String, etcd_client::Error> {
    let mut client = Client::connect([endpoint], Some(options)).await?;
    let status = client.status().await?;
    Ok(status.version().to_owned())
}

/// Before these versions a progress response could overtake events that were still queued
/// (etcd issue 15220), so a cache that trusted it would call itself fresh too early.
pub(super) fn progress_is_dependable(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.').map(|part| part.parse().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0_u32);
    match (part(), part(), part()) {
        (3, 4, patch) => patch >= 31,
        (3, 5, patch) => patch >= 13,
        (3, minor, _) => minor > 5,
        (major, ..) => major > 3,
    }
}
