//! The event path of a cache: fill, follow, publish; again from where it stopped when the watch breaks.

use super::Cacher;
use super::codec::Undecodable;
use super::hub::{CacheEvent, Closed, Keyed};
use super::snapshot::{Broken, Entry, State};
use super::written::Written;
use crate::{EtcdWatch, KeyValue, StorageError, WatchBatch, WatchEvent};
use rpds::RedBlackTreeMapSync;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The pauses between attempts to reach etcd again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause before the first fill: a server that starts is waited for.
const LONGEST_FIRST_PAUSE: Duration = Duration::from_millis(100);

type Entries<T> = RedBlackTreeMapSync<Arc<str>, Entry<T>>;
type BrokenEntries<T> = BTreeMap<Arc<str>, Broken<T>>;

/// Follows etcd until the token is cancelled.
pub(super) async fn run<T: Send + Sync + 'static>(
    cacher: Arc<Cacher<T>>,
    mut progress: mpsc::Receiver<()>,
    token: CancellationToken,
) {
    let follow = cacher.follow(&mut progress);
    tokio::select! {
        () = token.cancelled() => {}
        () = follow => {}
    }
    cacher.hub().stop();
}

impl<T: Send + Sync + 'static> Cacher<T> {
    async fn follow(&self, progress: &mut mpsc::Receiver<()>) {
        let mut pause = FIRST_PAUSE;
        let mut fill = true;
        loop {
            let before = self.counters.fills.load(Ordering::Relaxed);
            let from = self.revision();
            let error = match self.follow_once(fill, progress).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            fill = !self.is_ready() || matches!(error, StorageError::Compacted { .. } | StorageError::FutureRevision);
            if self.revision() != from || self.counters.fills.load(Ordering::Relaxed) != before {
                pause = FIRST_PAUSE;
            }
            tracing::debug!(prefix = self.prefix, %error, fill, "watch on etcd broke");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(if self.is_ready() { LONGEST_PAUSE } else { LONGEST_FIRST_PAUSE });
        }
    }

    async fn follow_once(
        &self,
        fill: bool,
        progress: &mut mpsc::Receiver<()>,
    ) -> Result<std::convert::Infallible, StorageError> {
        if fill {
            // All caches wait for an etcd that is not there yet by one read they share, not by a list each.
            self.etcd.current_revision().await?;
            self.fill().await?;
        }
        let mut watch = self.etcd.watch(&self.prefix, self.revision() + 1).await?;
        // A member may lag behind, but a store that is behind as a whole has lost its history.
        if watch.opened_at() < self.revision() && self.etcd.current_revision().await? < self.revision() {
            return Err(StorageError::FutureRevision);
        }
        self.take_batches(&mut watch, progress).await
    }

    async fn take_batches(
        &self,
        watch: &mut EtcdWatch,
        progress: &mut mpsc::Receiver<()>,
    ) -> Result<std::convert::Infallible, StorageError> {
        let mut bookmarks = tokio::time::interval(self.options.bookmark_every);
        bookmarks.reset();
        let mut asked_for_bookmark = false;
        loop {
            tokio::select! {
                batch = watch.next() => {
                    self.take_batch(batch?);
                    if std::mem::take(&mut asked_for_bookmark) {
                        self.hub().bookmark(self.revision());
                    }
                }
                Some(()) = progress.recv() => watch.request_progress().await?,
                // As if history were gone: list, compare, go on.
                () = self.refill.notified() => return Err(StorageError::Compacted { oldest: 0 }),
                _ = bookmarks.tick() => {
                    {
                        let mut hub = self.hub();
                        hub.forget_old();
                        if hub.counts().0 == 0 {
                            continue;
                        }
                    }
                    if self.etcd.has_dependable_progress() {
                        watch.request_progress().await?;
                        asked_for_bookmark = true;
                    } else {
                        self.hub().bookmark(self.revision());
                    }
                }
            }
        }
    }

    /// Decodes a batch, shows it to readers, then to watchers: who hears of an event can read it.
    fn take_batch(&self, batch: WatchBatch) {
        let mut state = State::clone(&self.state.load());
        if batch.revision <= state.revision {
            return;
        }
        self.counters.events.fetch_add(batch.events.len() as u64, Ordering::Relaxed);
        let mut changes = Changes { events: Vec::with_capacity(batch.events.len()), broken: Vec::new() };
        for event in batch.events {
            match event {
                WatchEvent::Put(kv) => self.apply_put(&mut state, kv, &mut changes),
                WatchEvent::Delete { key, revision } => {
                    self.apply_delete(&mut state, &key, revision, &mut changes);
                }
            }
        }
        state.revision = batch.revision;
        self.show(state, changes);
    }

    fn show(&self, state: State<T>, changes: Changes<T>) {
        let revision = state.revision;
        self.state.store(Arc::new(state));
        if !changes.events.is_empty() || !changes.broken.is_empty() {
            let mut hub = self.hub();
            hub.publish(changes.events);
            for (key, revision) in changes.broken {
                hub.close_covering(&key, Closed::Undecodable);
                hub.forget_until(revision);
            }
        }
        self.revision.send_replace(revision);
    }

    fn apply_put(&self, state: &mut State<T>, kv: KeyValue, changes: &mut Changes<T>) {
        let revision = kv.mod_revision;
        let (key, old) = self.known(state, &kv.key);
        let left = self.left_by_writer(&kv.key, revision);
        match left.map_or_else(|| self.decode(kv).map(Arc::new), Ok) {
            Ok(new) => {
                if state.broken.contains_key(&key) {
                    Arc::make_mut(&mut state.broken).remove(&key);
                }
                state.entries.insert_mut(Arc::clone(&key), Entry { revision, value: Arc::clone(&new) });
                changes.events.push(Keyed { key, event: CacheEvent::Put { revision, new, old } });
            }
            Err(why) => {
                state.entries.remove_mut(&key);
                Arc::make_mut(&mut state.broken).insert(Arc::clone(&key), Broken { why, last: old });
                changes.broken.push((key, revision));
            }
        }
    }

    fn apply_delete(&self, state: &mut State<T>, key: &str, revision: i64, changes: &mut Changes<T>) {
        let (key, old) = self.known(state, key);
        state.entries.remove_mut(&key);
        if state.broken.contains_key(&key) {
            Arc::make_mut(&mut state.broken).remove(&key);
        }
        if let Some(old) = old {
            let old = self.codec.deleted(&old, revision);
            changes.events.push(Keyed { key, event: CacheEvent::Delete { revision, old } });
        }
    }

    /// The shared form of a key and the last decodable state of its object.
    #[expect(clippy::unused_self, reason = "reads as a question to the cache")]
    fn known(&self, state: &State<T>, key: &str) -> (Arc<str>, Option<Arc<T>>) {
        if let Some((key, entry)) = state.entries.get_key_value(key) {
            return (Arc::clone(key), Some(Arc::clone(&entry.value)));
        }
        match state.broken.get_key_value(key) {
            Some((key, broken)) => (Arc::clone(key), broken.last.clone()),
            None => (Arc::from(key), None),
        }
    }

    pub(super) fn decode(&self, kv: KeyValue) -> Result<T, Arc<Undecodable>> {
        self.codec.decode(&kv.key, kv.value, kv.mod_revision).map_err(|error| {
            self.counters.undecodable.fetch_add(1, Ordering::Relaxed);
            tracing::error!(key = kv.key, revision = kv.mod_revision, %error, "stored value cannot be decoded");
            Arc::new(Undecodable { key: kv.key, revision: kv.mod_revision, reason: error.to_string() })
        })
    }

    /// Puts one listed value where it belongs.
    pub(super) fn take_in(&self, entries: &mut Entries<T>, broken: &mut BrokenEntries<T>, kv: KeyValue) {
        let (key, revision): (Arc<str>, i64) = (Arc::from(kv.key.as_str()), kv.mod_revision);
        match self.decode(kv) {
            Ok(value) => {
                entries.insert_mut(key, Entry { revision, value: Arc::new(value) });
            }
            Err(why) => {
                broken.insert(key, Broken { why, last: None });
            }
        }
    }

    /// Replaces the state by a list at one revision and tells watchers the difference.
    async fn fill(&self) -> Result<(), StorageError> {
        let old = self.state.load_full();
        let mut state = State::default();
        let mut broken = BTreeMap::new();
        let mut created = BTreeMap::new();
        let revision = self
            .etcd
            .list_all(&self.prefix, 0, |kv| {
                if kv.create_revision > old.revision && old.revision > 0 {
                    created.insert(Arc::from(kv.key.as_str()), kv.create_revision);
                }
                self.take_in(&mut state.entries, &mut broken, kv);
            })
            .await?;
        state.revision = revision;
        state.broken = Arc::new(broken);
        self.counters.fills.fetch_add(1, Ordering::Relaxed);
        if old.revision == 0 {
            self.hub().begin_at(revision);
            self.show(state, Changes::default());
        } else if revision < old.revision {
            tracing::error!(prefix = self.prefix, from = old.revision, to = revision, "etcd has lost history");
            // What was written then is no longer on its way, and its revisions come again for something else.
            *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Written::default();
            self.show(state, Changes::default());
            let mut hub = self.hub();
            hub.begin_at(revision);
            hub.close_all(Closed::HistoryLost);
        } else {
            let changes = self.difference(&old, &mut state, &created);
            self.show(state, changes);
        }
        Ok(())
    }

    /// The events that lead from one state to the other, in order of revision.
    fn difference(&self, old: &State<T>, new: &mut State<T>, created: &BTreeMap<Arc<str>, i64>) -> Changes<T> {
        let mut changes = Changes::default();
        let end = new.revision;
        let known = old.entries.iter().map(|(key, entry)| (key, &entry.value));
        let known = known.chain(old.broken.iter().filter_map(|(key, broken)| Some((key, broken.last.as_ref()?))));
        for (key, last) in known {
            let revision = match (new.entries.get(key), created.get(key)) {
                // Deleted and created again while nobody looked: two objects, so two events.
                (Some(_), Some(created)) => created - 1,
                (Some(_), None) => continue,
                (None, _) if new.broken.contains_key(key) => continue,
                (None, _) => end,
            };
            let event = CacheEvent::Delete { revision, old: self.codec.deleted(last, revision) };
            changes.events.push(Keyed { key: Arc::clone(key), event });
        }
        for (key, entry) in &new.entries {
            let before = old.entries.get(key);
            if before.is_some_and(|before| before.revision == entry.revision) {
                continue;
            }
            let last = before.map(|entry| &entry.value).or_else(|| old.broken.get(key)?.last.as_ref());
            let last = if created.contains_key(key) { None } else { last.cloned() };
            let event = CacheEvent::Put { revision: entry.revision, new: Arc::clone(&entry.value), old: last };
            changes.events.push(Keyed { key: Arc::clone(key), event });
        }
        // Stable: a deletion and what follows it at the same key keep their order.
        changes.events.sort_by_key(|keyed| keyed.event.revision());
        let mut broken = BrokenEntries::clone(&new.broken);
        for (key, entry) in &mut broken {
            let last = old.entries.get(key).map(|entry| Arc::clone(&entry.value));
            entry.last = last.or_else(|| old.broken.get(key)?.last.clone());
            changes.broken.push((Arc::clone(key), entry.why.revision));
        }
        new.broken = Arc::new(broken);
        changes
    }
}

/// What watchers must hear.
struct Changes<T> {
    events: Vec<Keyed<T>>,
    /// Keys whose new value cannot be decoded, with its revision.
    broken: Vec<(Arc<str>, i64)>,
}

impl<T> Default for Changes<T> {
    fn default() -> Self {
        Self { events: Vec::new(), broken: Vec::new() }
    }
}
