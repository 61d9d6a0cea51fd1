//! Workers: the loop between a queue and what brings the world in order.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::WorkQueue;

/// What to do with an item that was looked at without an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Requeue {
    /// Nothing until it is added again.
    #[default]
    No,
    /// Look again after a time, for changes that no event tells.
    After(Duration),
    /// Look again soon, and slower each time, for a state that is not what it should be yet.
    RateLimited,
}

/// Runs `n` workers until the queue is closed.
///
/// An error is logged and the item tried again, slower each time.
pub async fn run_workers<T, F, Fut, E>(queue: WorkQueue<T>, n: usize, reconcile: F)
where
    T: Clone + Eq + Hash + Debug + Send + 'static,
    F: Fn(T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Requeue, E>> + Send + 'static,
    E: Display + Debug + Send + 'static,
{
    let reconcile = Arc::new(reconcile);
    let mut workers = JoinSet::new();
    for _ in 0..n {
        let (queue, reconcile) = (queue.clone(), Arc::clone(&reconcile));
        workers.spawn(async move {
            while let Some(item) = queue.next().await {
                let outcome = reconcile(item.clone()).await;
                finish(&queue, item, outcome);
            }
        });
    }
    while workers.join_next().await.is_some() {}
}

fn finish<T, E>(queue: &WorkQueue<T>, item: T, outcome: Result<Requeue, E>)
where
    T: Clone + Eq + Hash + Debug,
    E: Display + Debug,
{
    queue.done(&item);
    match outcome {
        Ok(Requeue::No) => queue.forget(&item),
        Ok(Requeue::After(delay)) => {
            queue.forget(&item);
            queue.add_after(item, delay);
        }
        Ok(Requeue::RateLimited) => queue.add_rate_limited(item),
        Err(error) => {
            // The first failures are mostly conflicts with somebody who was quicker.
            if queue.failures(&item) < 3 {
                tracing::debug!(queue = queue.name(), ?item, %error, "will be tried again");
            } else {
                tracing::warn!(queue = queue.name(), ?item, %error, "fails again and again");
            }
            queue.add_rate_limited(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::Instant;

    use super::*;

    #[derive(Clone)]
    struct World {
        queue: WorkQueue<&'static str>,
        tries: Arc<AtomicU32>,
        start: Instant,
    }

    impl World {
        fn new() -> Self {
            let queue = WorkQueue::new("test");
            queue.add("a");
            Self { queue, tries: Arc::default(), start: Instant::now() }
        }

        #[expect(clippy::unused_async, reason = "a worker is asynchronous")]
        async fn succeed_at_the_sixth_try(self) -> Result<Requeue, &'static str> {
            if self.tries.fetch_add(1, Ordering::SeqCst) < 5 {
                return Err("not yet");
            }
            self.queue.close();
            Ok(Requeue::No)
        }

        #[expect(clippy::unused_async, reason = "a worker is asynchronous")]
        async fn ask_for_half_a_minute(self) -> Result<Requeue, &'static str> {
            if self.start.elapsed() >= Duration::from_secs(30) {
                self.queue.close();
            }
            Ok(Requeue::After(Duration::from_secs(30)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_item_is_tried_until_it_succeeds() {
        let world = World::new();
        let working = world.clone();
        run_workers(world.queue.clone(), 2, move |_| working.clone().succeed_at_the_sixth_try()).await;
        assert_eq!(world.tries.load(Ordering::SeqCst), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_comes_back_after_the_time_it_asked_for() {
        let world = World::new();
        let working = world.clone();
        run_workers(world.queue.clone(), 1, move |_| working.clone().ask_for_half_a_minute()).await;
        assert_eq!(world.start.elapsed().as_secs(), 30);
    }
}
