//! Reads that must not be stale: from the cache when it is provably fresh, else from a quorum.

use super::Cacher;
use super::snapshot::{ReadError, Snapshot, State};
use crate::StorageError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// After how long etcd is first asked again for progress; twice as long each time, since an etcd that is late is busy.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// The longest pause between two such questions.
const ASK_AT_LEAST: Duration = Duration::from_millis(800);
/// How long the answer to a progress request takes at most when all is well.
const ROUND_TRIP: Duration = Duration::from_millis(2);
/// How long a wait for one's own write stays silent: its event is on the way already.
const GRACE: Duration = Duration::from_millis(10);

/// Why a cache did not become fresh enough.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The store has not reached the wanted revision.
    #[error("revision {wanted} is not reached yet, the cache is at {reached}")]
    TooLarge {
        /// The revision asked for.
        wanted: i64,
        /// The revision of the cache.
        reached: i64,
    },
    /// etcd did not help.
    #[error("cannot read from etcd")]
    Storage(#[from] StorageError),
}

/// Why one key could not be read freshly.
#[derive(Debug, thiserror::Error)]
pub enum LatestError {
    /// etcd did not help.
    #[error("cannot read from etcd")]
    Storage(#[from] StorageError),
    /// The value cannot be decoded.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl<T: Send + Sync + 'static> Cacher<T> {
    /// One key as it is now, never stale, and a revision at which it was so.
    ///
    /// Costs one small round trip with any version of etcd, shared with all who ask at the same time; the value of an
    /// unchanged key does not travel.
    pub async fn latest(&self, key: &str) -> Result<(Option<Arc<T>>, i64), LatestError> {
        let place = self.etcd.place(key).await?;
        let Some(written) = place.written else {
            return Ok((None, place.revision));
        };
        if let Some(entry) = self.state.load().entries.get(key)
            && entry.revision == written
        {
            return Ok((Some(Arc::clone(&entry.value)), place.revision));
        }
        let (stored, revision) = self.etcd.get(key).await?;
        let Some(kv) = stored else {
            return Ok((None, revision));
        };
        let value = self.decode(kv).map_err(ReadError::Undecodable)?;
        Ok((Some(Arc::new(value)), revision))
    }

    /// A state at least as new as etcd was when this was called.
    pub async fn consistent(&self) -> Result<Snapshot<T>, StorageError> {
        self.ready().await;
        let deadline = Instant::now() + self.options.patience;
        if self.etcd.has_dependable_progress() {
            // Both at once: mostly the report answers with a revision that is new enough.
            self.ask_progress();
            let wanted = self.etcd.current_revision().await?;
            if self.reach(wanted, ROUND_TRIP, deadline).await {
                return Ok(self.snapshot());
            }
        } else {
            let wanted = self.etcd.current_revision().await?;
            if self.revision() >= wanted {
                return Ok(self.snapshot());
            }
            if let Some(proven) = self.prove(deadline).await? {
                return Ok(proven);
            }
        }
        tracing::warn!(prefix = self.prefix, "cache is behind, reading from etcd");
        self.quorum_read().await
    }

    /// A state that includes `revision`, such as one's own write.
    ///
    /// # Errors
    /// [`WaitError::TooLarge`] when `revision` is not reached within `timeout`.
    pub async fn wait_for(&self, revision: i64, timeout: Duration) -> Result<Snapshot<T>, WaitError> {
        let deadline = Instant::now() + timeout;
        if timeout_at(deadline, self.ready()).await.is_ok() {
            if self.reach(revision, GRACE, deadline).await {
                return Ok(self.snapshot());
            }
            // A revision of another resource, and an etcd that cannot report progress.
            if !self.etcd.has_dependable_progress() && self.etcd.current_revision().await? >= revision {
                return Ok(self.consistent().await?);
            }
        }
        Err(WaitError::TooLarge { wanted: revision, reached: self.revision() })
    }

    /// Waits for the cache to reach `wanted`, first for `silent`, then asking etcd to report progress.
    async fn reach(&self, wanted: i64, silent: Duration, deadline: Instant) -> bool {
        let mut revision = self.revision.subscribe();
        let mut pause = silent;
        let mut next = ASK_AGAIN;
        while *revision.borrow() < wanted {
            let until = (Instant::now() + pause).min(deadline);
            if timeout_at(until, revision.wait_for(|revision| *revision >= wanted)).await.is_ok() {
                break;
            }
            if Instant::now() >= deadline {
                return false;
            }
            pause = next;
            next = (next * 2).min(ASK_AT_LEAST);
            if !self.etcd.has_dependable_progress() {
                // Nothing to ask: only a real event can move the cache.
                if self.etcd_is_ahead_without_events(wanted).await {
                    return false;
                }
                continue;
            }
            self.ask_progress();
        }
        true
    }

    /// Whether etcd has `wanted` although the cache has nothing left to wait for.
    async fn etcd_is_ahead_without_events(&self, wanted: i64) -> bool {
        matches!(self.etcd.current_revision().await, Ok(revision) if revision >= wanted)
    }

    fn ask_progress(&self) {
        // A full channel means that a request is on its way already.
        let _ = self.progress.try_send(());
    }

    /// Proves by one quorum read of keys that the cache still shows the present state.
    ///
    /// If no key was written after the snapshot and as many keys exist as in the snapshot, none was deleted either.
    async fn prove(&self, deadline: Instant) -> Result<Option<Snapshot<T>>, StorageError> {
        while Instant::now() < deadline {
            let state = self.state.load_full();
            let changes = self.etcd.changes_since(&self.prefix, state.revision).await?;
            if changes.newest.is_none() && changes.count == state.len() {
                return Ok(Some(Snapshot::proven_at(state, changes.revision)));
            }
            let next = changes.newest.unwrap_or(state.revision + 1);
            let mut revision = self.revision.subscribe();
            let arrived = revision.wait_for(|revision| *revision >= next);
            let _ = timeout_at(deadline, arrived).await;
        }
        Ok(None)
    }

    /// The whole range from etcd itself, decoded for this one reader.
    async fn quorum_read(&self) -> Result<Snapshot<T>, StorageError> {
        let mut state = State::default();
        let mut broken = std::collections::BTreeMap::new();
        let revision = self
            .etcd
            .list_all(&self.prefix, 0, |kv| {
                self.take_in(&mut state.entries, &mut broken, kv);
            })
            .await?;
        state.revision = revision;
        state.broken = Arc::new(broken);
        Ok(Snapshot::new(Arc::new(state)))
    }
}
