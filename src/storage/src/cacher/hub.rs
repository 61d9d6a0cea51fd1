//! The recent events of a cache and the queues of those who watch.

use super::snapshot::covers;
use super::{CacheOptions, Cacher};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// With the next event the cache takes in.
    Now,
    /// With the first event after this revision.
    Revision(i64),
}

/// The history a watch asked for is no longer there: list again and watch from there.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("revision is too old; oldest that can be resumed: {oldest}")]
pub struct Expired {
    /// The oldest revision a watch may start from now; 0 while the cache is not filled.
    pub oldest: i64,
}

/// Why a watcher ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It did not keep up; it can resume after the last event it got.
    Slow,
    /// A value it covers cannot be decoded; the next list names it.
    Undecodable,
    /// The history of the store was replaced, as by a restore.
    HistoryLost,
    /// The cache was stopped.
    Stopped,
}

/// One step in the history of the keys watched.
#[derive(Debug)]
pub enum CacheEvent<T> {
    /// An object was written.
    Put {
        /// The revision of the write.
        revision: i64,
        /// The object now.
        new: Arc<T>,
        /// The object before; `None` when it is new.
        old: Option<Arc<T>>,
    },
    /// An object was removed.
    Delete {
        /// The revision of the removal.
        revision: i64,
        /// Its last state, as [`crate::Codec::deleted`] made it.
        old: Arc<T>,
    },
    /// All events up to this revision have been delivered.
    Bookmark {
        /// The revision reached.
        revision: i64,
    },
}

impl<T> CacheEvent<T> {
    /// The revision of this step.
    pub fn revision(&self) -> i64 {
        match self {
            Self::Put { revision, .. } | Self::Delete { revision, .. } | Self::Bookmark { revision } => *revision,
        }
    }
}

impl<T> Clone for CacheEvent<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Put { revision, new, old } => {
                Self::Put { revision: *revision, new: Arc::clone(new), old: old.clone() }
            }
            Self::Delete { revision, old } => Self::Delete { revision: *revision, old: Arc::clone(old) },
            Self::Bookmark { revision } => Self::Bookmark { revision: *revision },
        }
    }
}

/// How many different bytes watchers may make of one event.
const FORMS: usize = 6;

/// An event on its way to its watchers, with room for what they make of it: made once, shared by all.
///
/// It lives until the last of them has taken it; history keeps the event alone.
#[derive(Debug)]
pub struct Delivery<T> {
    event: CacheEvent<T>,
    made: [OnceLock<Bytes>; FORMS],
}

impl<T> Delivery<T> {
    fn new(event: CacheEvent<T>) -> Arc<Self> {
        Arc::new(Self { event, made: Default::default() })
    }

    /// The bytes of one form (0 to 5) of this event, made by whoever asks first.
    ///
    /// # Panics
    /// If there is no such form.
    pub fn shared(&self, form: usize, make: impl FnOnce() -> Bytes) -> &Bytes {
        self.made[form].get_or_init(make)
    }
}

impl<T> Deref for Delivery<T> {
    type Target = CacheEvent<T>;

    fn deref(&self) -> &CacheEvent<T> {
        &self.event
    }
}

/// An event with its key, as the pump hands it over.
pub(crate) struct Keyed<T> {
    pub(crate) key: Arc<str>,
    pub(crate) event: CacheEvent<T>,
}

struct Kept<T> {
    at: Instant,
    keyed: Keyed<T>,
}

struct Slot<T> {
    id: u64,
    since: i64,
    queue: mpsc::Sender<Arc<Delivery<T>>>,
    closed: Arc<std::sync::OnceLock<Closed>>,
}

/// What a new watcher takes with it.
pub(crate) struct Parts<T> {
    backlog: VecDeque<Arc<Delivery<T>>>,
    queue: mpsc::Receiver<Arc<Delivery<T>>>,
    closed: Arc<std::sync::OnceLock<Closed>>,
}

/// Ring and queues; lives under the lock of the cache.
pub(crate) struct Hub<T> {
    ring: VecDeque<Kept<T>>,
    /// All events after this revision are in the ring.
    floor: i64,
    filled: bool,
    stopped: bool,
    ring_min: usize,
    ring_max: usize,
    ring_age: Duration,
    /// By prefix, so that an event looks only at the watchers of its own key, namespace and resource.
    slots: HashMap<Box<str>, Vec<Slot<T>>>,
    next_id: u64,
    watchers: usize,
    slow: u64,
}

impl<T> Hub<T> {
    pub(crate) fn new(options: &CacheOptions) -> Self {
        Self {
            ring: VecDeque::new(),
            floor: 0,
            filled: false,
            stopped: false,
            ring_min: options.ring_min,
            ring_max: options.ring_max,
            ring_age: options.ring_age,
            slots: HashMap::new(),
            next_id: 0,
            watchers: 0,
            slow: 0,
        }
    }

    /// Sets where history begins: at the first fill, or when it had to be given up.
    pub(crate) fn begin_at(&mut self, revision: i64) {
        self.ring.clear();
        self.floor = revision;
        self.filled = true;
    }

    /// Gives up history up to `revision`, so that nobody resumes across it.
    pub(crate) fn forget_until(&mut self, revision: i64) {
        while self.ring.front().is_some_and(|kept| kept.keyed.event.revision() <= revision) {
            self.ring.pop_front();
        }
        self.floor = self.floor.max(revision);
    }

    pub(crate) fn counts(&self) -> (usize, u64) {
        (self.watchers, self.slow)
    }

    pub(crate) fn register(
        &mut self,
        prefix: &str,
        since: Since,
        now: i64,
        queue: usize,
    ) -> Result<(u64, Parts<T>), Expired> {
        let since = match since {
            Since::Now => now.max(self.floor),
            Since::Revision(revision) => revision,
        };
        if !self.filled || self.stopped || since < self.floor {
            return Err(Expired { oldest: self.floor });
        }
        let from = self.ring.partition_point(|kept| kept.keyed.event.revision() <= since);
        let wanted = self.ring.range(from..).filter(|kept| covers(prefix, &kept.keyed.key));
        let backlog = wanted.map(|kept| Delivery::new(kept.keyed.event.clone())).collect();
        let (sender, receiver) = mpsc::channel(queue);
        let closed = Arc::default();
        self.next_id += 1;
        let slot = Slot { id: self.next_id, since, queue: sender, closed: Arc::clone(&closed) };
        self.slots.entry(prefix.into()).or_default().push(slot);
        self.watchers += 1;
        Ok((self.next_id, Parts { backlog, queue: receiver, closed }))
    }

    fn unregister(&mut self, prefix: &str, id: u64) {
        let Some(slots) = self.slots.get_mut(prefix) else {
            return;
        };
        let before = slots.len();
        slots.retain(|slot| slot.id != id);
        self.watchers -= before - slots.len();
        if slots.is_empty() {
            self.slots.remove(prefix);
        }
    }

    /// Keeps the events and gives them to all who watch their keys.
    pub(crate) fn publish(&mut self, events: Vec<Keyed<T>>) {
        let at = Instant::now();
        for keyed in events {
            if !self.slots.is_empty() {
                let delivery = Delivery::new(keyed.event.clone());
                for prefix in prefixes_of(&keyed.key) {
                    self.offer(prefix, &delivery);
                }
            }
            self.ring.push_back(Kept { at, keyed });
        }
        self.trim(at);
    }

    /// Forgets what has become too old since the last event.
    pub(crate) fn forget_old(&mut self) {
        self.trim(Instant::now());
    }

    /// Tells every watcher how far it has come.
    pub(crate) fn bookmark(&mut self, revision: i64) {
        let prefixes: Vec<Box<str>> = self.slots.keys().cloned().collect();
        let delivery = Delivery::new(CacheEvent::Bookmark { revision });
        for prefix in prefixes {
            self.offer(&prefix, &delivery);
        }
    }

    fn offer(&mut self, prefix: &str, delivery: &Arc<Delivery<T>>) {
        let Some(slots) = self.slots.get_mut(prefix) else {
            return;
        };
        let revision = delivery.revision();
        let before = slots.len();
        let slow = &mut self.slow;
        slots.retain(|slot| {
            if revision <= slot.since {
                return true;
            }
            match slot.queue.try_send(Arc::clone(delivery)) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    let _ = slot.closed.set(Closed::Slow);
                    *slow += 1;
                    false
                }
                Err(TrySendError::Closed(_)) => false,
            }
        });
        self.watchers -= before - slots.len();
        if slots.is_empty() {
            self.slots.remove(prefix);
        }
    }

    /// Ends all watchers that cover `key`.
    pub(crate) fn close_covering(&mut self, key: &str, why: Closed) {
        for prefix in prefixes_of(key) {
            if let Some(slots) = self.slots.remove(prefix) {
                self.end(&slots, why);
            }
        }
    }

    /// Ends all watchers.
    pub(crate) fn close_all(&mut self, why: Closed) {
        for slots in std::mem::take(&mut self.slots).into_values() {
            self.end(&slots, why);
        }
    }

    /// Ends all watchers and takes no more.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.close_all(Closed::Stopped);
    }

    fn end(&mut self, slots: &[Slot<T>], why: Closed) {
        self.watchers -= slots.len();
        for slot in slots {
            let _ = slot.closed.set(why);
        }
    }

    fn trim(&mut self, now: Instant) {
        while let Some(oldest) = self.ring.front() {
            let old = now.duration_since(oldest.at) > self.ring_age;
            if self.ring.len() <= self.ring_min || (self.ring.len() <= self.ring_max && !old) {
                return;
            }
            self.floor = self.floor.max(oldest.keyed.event.revision());
            self.ring.pop_front();
        }
    }
}

/// All prefixes a watcher of `key` may have registered: the empty one, each path above, the key itself.
fn prefixes_of(key: &str) -> impl Iterator<Item = &str> {
    let above = key.match_indices('/').map(|(at, _)| &key[..=at]).filter(move |prefix| *prefix != key);
    std::iter::once("").chain(above).chain(std::iter::once(key))
}

/// The events under one prefix, in order, without gaps.
pub struct Watcher<T: Send + Sync + 'static> {
    cacher: Arc<Cacher<T>>,
    prefix: Box<str>,
    id: u64,
    parts: Parts<T>,
}

impl<T: Send + Sync + 'static> Watcher<T> {
    pub(crate) fn new(cacher: Arc<Cacher<T>>, prefix: &str, id: u64, parts: Parts<T>) -> Self {
        Self { cacher, prefix: prefix.into(), id, parts }
    }

    /// The next event; `None` when the watcher was closed. Cancelling the future loses nothing.
    pub async fn next(&mut self) -> Option<CacheEvent<T>> {
        self.next_delivery().await.map(|delivery| delivery.event.clone())
    }

    /// [`Watcher::next`] with what other watchers have made of the event.
    pub async fn next_delivery(&mut self) -> Option<Arc<Delivery<T>>> {
        match self.parts.backlog.pop_front() {
            Some(delivery) => Some(delivery),
            None => self.parts.queue.recv().await,
        }
    }

    /// The next event if it is there already: a way to write several into one frame.
    pub fn try_next(&mut self) -> Option<CacheEvent<T>> {
        let waiting = self.parts.backlog.pop_front();
        waiting.or_else(|| self.parts.queue.try_recv().ok()).map(|delivery| delivery.event.clone())
    }

    /// Why [`Watcher::next`] ended.
    pub fn closed(&self) -> Option<Closed> {
        self.parts.closed.get().copied()
    }
}

impl<T: Send + Sync + 'static> Drop for Watcher<T> {
    fn drop(&mut self) {
        self.cacher.hub().unregister(&self.prefix, self.id);
    }
}

impl<T: Send + Sync + 'static> std::fmt::Debug for Watcher<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
