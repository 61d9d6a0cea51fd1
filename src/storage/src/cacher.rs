//! The watch cache of one resource: one etcd watch feeding snapshots for readers and queues for watchers.

pub(crate) mod codec;
pub(crate) mod freshness;
pub(crate) mod hub;
mod pump;
pub(crate) mod snapshot;
mod written;

use crate::Etcd;
use arc_swap::ArcSwap;
use codec::Codec;
use hub::{Expired, Hub, Since, Watcher};
use snapshot::{ReadError, Snapshot, State};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Sizes and times of a cache; the default fits every resource.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// Events that are always kept for watchers that come back.
    pub ring_min: usize,
    /// Events that are never exceeded, however young they are.
    pub ring_max: usize,
    /// Between the two, events younger than this are kept.
    pub ring_age: Duration,
    /// Events that may wait in front of one watcher before it is closed as too slow.
    pub queue: usize,
    /// How often watchers get a bookmark.
    pub bookmark_every: Duration,
    /// How long a consistent read waits for the cache before it asks etcd for the values themselves.
    pub patience: Duration,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            ring_min: 1000,
            ring_max: 100_000,
            ring_age: Duration::from_secs(75),
            queue: 2048,
            bookmark_every: Duration::from_mins(1),
            patience: Duration::from_secs(3),
        }
    }
}

/// What a cache has seen so far, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Objects in the newest snapshot.
    pub objects: usize,
    /// Open watchers.
    pub watchers: usize,
    /// Events taken in from etcd.
    pub events: u64,
    /// Watchers closed because they did not keep up.
    pub slow_watchers: u64,
    /// Values that could not be decoded.
    pub undecodable: u64,
    /// How often the cache was filled from a list.
    pub fills: u64,
}

/// The watch cache over all keys below one prefix.
pub struct Cacher<T> {
    etcd: Etcd,
    prefix: String,
    options: CacheOptions,
    codec: Box<dyn Codec<T>>,
    state: ArcSwap<State<T>>,
    /// The revision of `state`, for those who wait for it.
    revision: watch::Sender<i64>,
    hub: Mutex<Hub<T>>,
    /// Asks the pump to ask etcd for a progress report.
    progress: mpsc::Sender<()>,
    /// Asks the pump to read everything again.
    refill: Notify,
    written: Mutex<written::Written<T>>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    events: AtomicU64,
    undecodable: AtomicU64,
    fills: AtomicU64,
}

impl<T: Send + Sync + 'static> Cacher<T> {
    /// Starts to fill and follow everything below `prefix` (which ends in `/`) until the token is cancelled.
    pub fn start(etcd: Etcd, prefix: impl Into<String>, codec: impl Codec<T>, token: CancellationToken) -> Arc<Self> {
        Self::start_with(etcd, prefix, codec, CacheOptions::default(), token)
    }

    /// [`Cacher::start`] with sizes and times of one's own.
    pub fn start_with(
        etcd: Etcd,
        prefix: impl Into<String>,
        codec: impl Codec<T>,
        options: CacheOptions,
        token: CancellationToken,
    ) -> Arc<Self> {
        let (progress, requests) = mpsc::channel(1);
        let cacher = Arc::new(Self {
            etcd,
            prefix: prefix.into(),
            hub: Mutex::new(Hub::new(&options)),
            options,
            codec: Box::new(codec),
            state: ArcSwap::from_pointee(State::default()),
            revision: watch::Sender::new(0),
            progress,
            refill: Notify::new(),
            written: Mutex::default(),
            counters: Counters::default(),
        });
        tokio::spawn(pump::run(Arc::clone(&cacher), requests, token));
        cacher
    }

    /// Returns when the first fill is done; from then on the cache always has a state.
    pub async fn ready(&self) {
        let mut revision = self.revision.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = revision.wait_for(|revision| *revision > 0).await;
    }

    /// Whether the first fill is done.
    pub fn is_ready(&self) -> bool {
        self.revision() > 0
    }

    /// The prefix given at the start.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The store behind the cache.
    pub fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    /// The revision the cache has reached; 0 before the first fill.
    pub fn revision(&self) -> i64 {
        *self.revision.borrow()
    }

    /// The cached value of one key, as old as the cache is.
    pub fn get(&self, key: &str) -> Result<Option<Arc<T>>, ReadError> {
        self.snapshot().get(key)
    }

    /// The whole state at one revision; it costs nothing and never changes.
    pub fn snapshot(&self) -> Snapshot<T> {
        Snapshot::new(self.state.load_full())
    }

    /// Follows the keys under `prefix`: everything below it if it ends in `/`, else exactly this key.
    ///
    /// # Errors
    /// [`Expired`] when events after the wanted revision are no longer kept, or the cache is not filled yet.
    pub fn watch(self: &Arc<Self>, prefix: &str, since: Since) -> Result<Watcher<T>, Expired> {
        let (id, parts) = self.hub().register(prefix, since, self.revision(), self.options.queue)?;
        Ok(Watcher::new(Arc::clone(self), prefix, id, parts))
    }

    /// Whether there are values that could not be decoded.
    pub fn has_undecodable(&self) -> bool {
        !self.state.load().broken.is_empty()
    }

    /// Reads everything again, for when the codec has learnt to decode more; watchers hear the difference.
    pub fn refill(&self) {
        self.refill.notify_one();
    }

    /// What happened so far.
    pub fn stats(&self) -> CacheStats {
        let (watchers, slow_watchers) = self.hub().counts();
        CacheStats {
            objects: self.state.load().len(),
            watchers,
            events: self.counters.events.load(Ordering::Relaxed),
            slow_watchers,
            undecodable: self.counters.undecodable.load(Ordering::Relaxed),
            fills: self.counters.fills.load(Ordering::Relaxed),
        }
    }

    /// The event path and new watchers meet here; nobody holds it across an await or while decoding.
    fn hub(&self) -> MutexGuard<'_, Hub<T>> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> std::fmt::Debug for Cacher<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cacher").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
