//! What is still to be looked at.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Wait after the first failure of an item; it doubles with every further one.
const FIRST_DELAY: Duration = Duration::from_millis(5);

/// Longest wait after failures.
const LAST_DELAY: Duration = Duration::from_mins(1);

/// A queue of distinct items.
///
/// # Guarantees
/// An item waits at most once, however often it was added. An item is never given to two workers at a time: added while
/// it is worked on, it waits until [`WorkQueue::done`]. Delayed items cost one timer in all; the earlier of two delays
/// counts.
pub struct WorkQueue<T>(Arc<Shared<T>>);

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<T> {
    name: &'static str,
    state: Mutex<State<T>>,
    wake: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    /// In `ready`, or to be there when its worker is done.
    wanted: HashSet<T>,
    active: HashSet<T>,
    delayed: BTreeMap<(Instant, u64), T>,
    due: HashMap<T, (Instant, u64)>,
    failures: HashMap<T, u32>,
    counter: u64,
    closed: bool,
}

/// What a worker finds.
enum Look<T> {
    Closed,
    Item(T),
    /// When the earliest delayed item is due.
    Nothing(Option<Instant>),
}

impl<T: Clone + Eq + Hash> WorkQueue<T> {
    /// An empty queue; the name appears in logs.
    pub fn new(name: &'static str) -> Self {
        let state = State {
            ready: VecDeque::new(),
            wanted: HashSet::new(),
            active: HashSet::new(),
            delayed: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            counter: 0,
            closed: false,
        };
        Self(Arc::new(Shared { name, state: Mutex::new(state), wake: Notify::new() }))
    }

    /// The name it was given.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// How many items wait for a worker now.
    pub fn len(&self) -> usize {
        self.lock().ready.len()
    }

    /// Whether no item waits for a worker now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an item.
    pub fn add(&self, item: T) {
        if self.lock().add(item) {
            self.0.wake.notify_one();
        }
    }

    /// Adds an item after a time.
    pub fn add_after(&self, item: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(item);
        }
        if self.lock().delay(item, Instant::now() + delay) {
            self.0.wake.notify_one();
        }
    }

    /// Adds an item after a wait that grows with each failure since the last [`WorkQueue::forget`].
    pub fn add_rate_limited(&self, item: T) {
        let delay = {
            let mut state = self.lock();
            let failures = state.failures.entry(item.clone()).or_insert(0);
            let delay = FIRST_DELAY.saturating_mul(1 << (*failures).min(20)).min(LAST_DELAY);
            *failures += 1;
            delay
        };
        self.add_after(item, delay);
    }

    /// Forgets the failures of an item.
    pub fn forget(&self, item: &T) {
        self.lock().failures.remove(item);
    }

    /// How often an item failed in a row.
    pub fn failures(&self, item: &T) -> u32 {
        self.lock().failures.get(item).copied().unwrap_or(0)
    }

    /// The next item; it must be given back with [`WorkQueue::done`]. `None` once the queue is closed.
    pub async fn next(&self) -> Option<T> {
        loop {
            // Registered before the look, so that an add between look and wait is not missed.
            let woken = self.0.wake.notified();
            let earliest = match self.look() {
                Look::Closed => return None,
                Look::Item(item) => return Some(item),
                Look::Nothing(earliest) => earliest,
            };
            match earliest {
                None => woken.await,
                Some(time) => {
                    tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep_until(time) => {}
                    }
                }
            }
        }
    }

    fn look(&self) -> Look<T> {
        let mut state = self.lock();
        if state.closed {
            // Pass the end on to the next sleeper.
            self.0.wake.notify_one();
            return Look::Closed;
        }
        state.promote(Instant::now());
        let Some(item) = state.take() else {
            return Look::Nothing(state.delayed.keys().next().map(|(time, _)| *time));
        };
        if !state.ready.is_empty() || !state.delayed.is_empty() {
            self.0.wake.notify_one();
        }
        Look::Item(item)
    }

    /// Gives an item back.
    pub fn done(&self, item: &T) {
        let waits = {
            let mut state = self.lock();
            state.active.remove(item);
            let waits = state.wanted.contains(item);
            if waits {
                state.ready.push_back(item.clone());
            }
            waits
        };
        if waits {
            self.0.wake.notify_one();
        }
    }

    /// Ends the queue: workers get no further item.
    pub fn close(&self) {
        self.lock().closed = true;
        self.0.wake.notify_waiters();
        self.0.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    /// Whether a worker should wake.
    fn add(&mut self, item: T) -> bool {
        if self.closed || !self.wanted.insert(item.clone()) || self.active.contains(&item) {
            return false;
        }
        self.ready.push_back(item);
        true
    }

    fn delay(&mut self, item: T, time: Instant) -> bool {
        if self.closed {
            return false;
        }
        if let Some(known) = self.due.get(&item).copied() {
            if known.0 <= time {
                return false;
            }
            self.delayed.remove(&known);
        }
        self.counter += 1;
        let slot = (time, self.counter);
        self.due.insert(item.clone(), slot);
        self.delayed.insert(slot, item);
        self.delayed.keys().next() == Some(&slot)
    }

    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let item = entry.remove();
            self.due.remove(&item);
            self.add(item);
        }
    }

    fn take(&mut self) -> Option<T> {
        let item = self.ready.pop_front()?;
        self.wanted.remove(&item);
        self.active.insert(item.clone());
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_item_added_twice_is_given_once() {
        let queue = WorkQueue::new("test");
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, Some("a"));
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn an_item_added_while_it_is_worked_on_waits_for_its_worker() {
        let queue = WorkQueue::new("test");
        queue.add("a");
        assert_eq!(queue.next().await, Some("a"));
        queue.add("a");
        assert!(queue.is_empty());
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_delays_counts() {
        let queue = WorkQueue::new("test");
        let start = Instant::now();
        queue.add_after("a", Duration::from_mins(1));
        queue.add_after("a", Duration::from_secs(5));
        queue.add_after("a", Duration::from_secs(30));
        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(start.elapsed().as_secs(), 5);
        queue.done(&"a");
        assert!(
            tokio::time::timeout(Duration::from_mins(10), queue.next()).await.is_err(),
            "the later delays are void"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn failures_make_an_item_wait_longer_until_it_is_forgotten() {
        let queue = WorkQueue::new("test");
        for expected in [5, 10, 20, 40] {
            let start = Instant::now();
            queue.add_rate_limited("a");
            assert_eq!(queue.next().await, Some("a"));
            // Tokio's timer rounds up to a millisecond.
            let waited = u64::try_from(start.elapsed().as_millis()).unwrap();
            assert!((expected..=expected + 1).contains(&waited), "{waited}");
            queue.done(&"a");
        }
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
    }

    #[tokio::test]
    async fn closing_wakes_every_worker() {
        let queue: WorkQueue<&str> = WorkQueue::new("test");
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.next().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for worker in workers {
            assert_eq!(worker.await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn many_items_reach_many_workers() {
        let queue = WorkQueue::new("test");
        let workers: Vec<_> = (0..4).map(|_| tokio::spawn(count_items(queue.clone()))).collect();
        for item in 0..1000 {
            queue.add(item);
        }
        while !queue.is_empty() {
            tokio::task::yield_now().await;
        }
        queue.close();
        let mut total = 0;
        for worker in workers {
            total += worker.await.unwrap();
        }
        assert_eq!(total, 1000);
    }

    async fn count_items(queue: WorkQueue<i32>) -> i32 {
        let mut seen = 0;
        while let Some(item) = queue.next().await {
            seen += 1;
            tokio::task::yield_now().await;
            queue.done(&item);
        }
        seen
    }
}
