//! One list and watch of a kind for the whole process.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::store::IndexFn;
use crate::{Retry, Store};

/// Longest rest between two tries once there were objects.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// A description of what to follow; [`Informer::start`] makes it run.
pub struct Informer<K> {
    api: Api<K>,
    config: watcher::Config,
    indexes: Vec<(&'static str, IndexFn<K>)>,
    trim: fn(&mut K),
}

impl<K> Informer<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Follows all objects an `Api` reaches. `managedFields` are dropped from every object.
    pub fn new(api: Api<K>) -> Self {
        Self { api, config: watcher::Config::default(), indexes: Vec::new(), trim: |_| {} }
    }

    /// Only objects a field selector matches.
    #[must_use]
    pub fn fields(mut self, selector: &str) -> Self {
        self.config = self.config.fields(selector);
        self
    }

    /// Only objects a label selector matches.
    #[must_use]
    pub fn labels(mut self, selector: &str) -> Self {
        self.config = self.config.labels(selector);
        self
    }

    /// Gets the first objects from the watch itself; for servers known to support streaming lists.
    #[must_use]
    pub fn streaming(mut self) -> Self {
        self.config = self.config.streaming_lists();
        self
    }

    /// Keeps an index: `values` names what an object is found under.
    #[must_use]
    pub fn index(mut self, name: &'static str, values: fn(&K) -> Vec<String>) -> Self {
        self.indexes.push((name, values));
        self
    }

    /// Changes every object before it is kept, to drop what nobody reads.
    #[must_use]
    pub fn trim(mut self, trim: fn(&mut K)) -> Self {
        self.trim = trim;
        self
    }

    /// Starts following, until the token is cancelled.
    pub fn start(self, token: CancellationToken) -> Store<K> {
        let store = Store::new(self.indexes.iter().copied());
        let followed = store.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = self.follow(&followed) => {}
            }
        });
        store
    }

    async fn follow(&self, store: &Store<K>) {
        let mut retry = Retry::new(LONGEST_REST);
        loop {
            let mut events = pin!(watcher(self.api.clone(), self.config.clone()));
            let mut listed = Vec::new();
            while let Some(event) = events.next().await {
                // Every try begins with `Init`, also one that then fails.
                if event.as_ref().is_ok_and(|event| !matches!(event, watcher::Event::Init)) {
                    retry.answered();
                }
                let Err(error) = event.map(|event| self.take(store, event, &mut listed)) else { continue };
                tracing::debug!(resource = self.api.resource_url(), ?error, "watch failed");
                retry.sleep().await;
                if is_gone(&error) {
                    // The library would ask for the same revision again.
                    break;
                }
            }
        }
    }

    fn take(&self, store: &Store<K>, event: watcher::Event<K>, listed: &mut Vec<Arc<K>>) {
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(object) => listed.push(self.shrink(object)),
            watcher::Event::InitDone => {
                store.replace(std::mem::take(listed));
                store.mark_synced();
            }
            watcher::Event::Apply(object) => store.apply(self.shrink(object)),
            watcher::Event::Delete(object) => store.delete(self.shrink(object)),
        }
    }

    fn shrink(&self, mut object: K) -> Arc<K> {
        object.meta_mut().managed_fields = None;
        (self.trim)(&mut object);
        Arc::new(object)
    }
}

fn is_gone(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

#[cfg(test)]
mod tests;
