//! What writers of this process have made of their own writes, so that the event path need not make it again.

use super::Cacher;
use super::freshness::WaitError;
use super::snapshot::Snapshot;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

/// How many values wait for their events at most: those of an event path that has stopped must not pile up.
const WAITING: usize = 32;

/// Values whose events have not come yet.
pub(crate) struct Written<T> {
    waiting: VecDeque<(Box<str>, i64, Arc<T>)>,
    newest: i64,
}

impl<T> Default for Written<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), newest: 0 }
    }
}

impl<T> Written<T> {
    fn put(&mut self, key: &str, revision: i64, value: Arc<T>) {
        self.newest = self.newest.max(revision);
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((key.into(), revision, value));
    }

    fn take(&mut self, key: &str, revision: i64) -> Option<Arc<T>> {
        let at = self.waiting.iter().position(|(name, at, _)| *at == revision && **name == *key)?;
        self.waiting.remove(at).map(|(_, _, value)| value)
    }
}

impl<T: Send + Sync + 'static> Cacher<T> {
    /// The value written to `key` at `revision` by the caller: the cache's own if it has it already, else the one made
    /// here, which the cache then takes over.
    ///
    /// # Errors
    /// What `make` says.
    pub fn adopt<E>(&self, key: &str, revision: i64, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        if let Some(entry) = self.state.load().entries.get(key)
            && entry.revision == revision
        {
            return Ok(Arc::clone(&entry.value));
        }
        let value = Arc::new(make()?);
        if self.revision() < revision {
            self.written.lock().unwrap_or_else(PoisonError::into_inner).put(key, revision, Arc::clone(&value));
        }
        Ok(value)
    }

    /// A state with everything that this process has written below the prefix; most often that is the present one.
    ///
    /// # Errors
    /// If the events of the writes have not come after a while.
    pub async fn settled(&self) -> Result<Snapshot<T>, WaitError> {
        let newest = self.written.lock().unwrap_or_else(PoisonError::into_inner).newest;
        if self.revision() >= newest {
            return Ok(self.snapshot());
        }
        self.wait_for(newest, self.options.patience).await
    }

    /// What the writer of `revision` left for the cache.
    pub(super) fn left_by_writer(&self, key: &str, revision: i64) -> Option<Arc<T>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).take(key, revision)
    }
}
