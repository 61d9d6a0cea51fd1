//! Read your own writes: a controller must not act on a view that lacks what it did last.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Resource;

/// After this long a write that never showed up is given up on; the object was removed between two lists.
const PATIENCE: Duration = Duration::from_secs(30);

/// The revision of the last write for each key.
pub(crate) struct Freshness<T> {
    writes: Mutex<HashMap<T, (u64, Instant)>>,
}

impl<T: Eq + Hash + Clone> Freshness<T> {
    pub(crate) fn new() -> Self {
        Self { writes: Mutex::new(HashMap::new()) }
    }

    /// Remembers an object that was written for a key.
    pub(crate) fn wrote<K: Resource>(&self, key: &T, object: &K) {
        let Some(revision) = object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()) else {
            return;
        };
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = writes.entry(key.clone()).or_insert((0, Instant::now()));
        *entry = (entry.0.max(revision), Instant::now());
    }

    /// How long to wait at most before acting for a key on a store at a revision; `None` if it shows all writes.
    pub(crate) fn wait(&self, key: &T, revision: u64) -> Option<Duration> {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let (written, at) = *writes.get(key)?;
        let left = PATIENCE.saturating_sub(at.elapsed());
        if revision >= written || left.is_zero() {
            writes.remove(key);
            return None;
        }
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    #[test]
    fn a_view_older_than_the_last_write_is_not_acted_on() {
        let freshness = Freshness::new();
        assert_eq!(freshness.wait(&"a", 1), None);
        let mut pod = Pod::default();
        pod.metadata.resource_version = Some("7".into());
        freshness.wrote(&"a", &pod);
        assert!(freshness.wait(&"a", 6).is_some());
        assert_eq!(freshness.wait(&"b", 6), None);
        assert_eq!(freshness.wait(&"a", 7), None);
    }
}
