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

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failed_item_is_tried_until_it_succeeds() {
        let queue = WorkQueue::new("test");
        let tries = Arc::new(AtomicU32::new(0));
        let (closing, counter) = (queue.clone(), Arc::clone(&tries));
        queue.add("a");
        run_workers(queue, 2, move |_| {
            let (closing, counter) = (closing.clone(), Arc::clone(&counter));
            async move {
                if counter.fetch_add(1, Ordering::SeqCst) < 5 {
                    return Err("not yet");
                }
                closing.close();
                Ok(Requeue::No)
            }
        })
        .await;
        assert_eq!(tries.load(Ordering::SeqCst), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_comes_back_after_the_time_it_asked_for() {
        let queue = WorkQueue::new("test");
        let start = tokio::time::Instant::now();
        let closing = queue.clone();
        queue.add("a");
        run_workers(queue, 1, move |_| {
            let closing = closing.clone();
            async move {
                if start.elapsed() >= Duration::from_secs(30) {
                    closing.close();
                }
                Ok::<_, String>(Requeue::After(Duration::from_secs(30)))
            }
        })
        .await;
        assert_eq!(start.elapsed().as_secs(), 30);
    }
}
