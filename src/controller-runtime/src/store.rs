//! The objects of one kind as the process last saw them.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use kube::Resource;
use tokio::sync::{mpsc, watch};

use crate::ObjectKey;

/// What happened to an object.
#[derive(Debug)]
pub enum Event<K> {
    /// It was seen for the first time.
    Added(Arc<K>),
    /// It changed.
    Updated {
        /// As it was.
        old: Arc<K>,
        /// As it is.
        new: Arc<K>,
    },
    /// It is gone; this is its last known state.
    Deleted(Arc<K>),
}

// Written by hand because a derived one would ask that K be Clone.
impl<K> Clone for Event<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Added(object) => Self::Added(Arc::clone(object)),
            Self::Updated { old, new } => Self::Updated { old: Arc::clone(old), new: Arc::clone(new) },
            Self::Deleted(object) => Self::Deleted(Arc::clone(object)),
        }
    }
}

impl<K> Event<K> {
    /// The newest state the event knows.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Deleted(object) | Self::Updated { new: object, .. } => object,
        }
    }

    /// The state before, if there was one.
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Updated { old, .. } => Some(old),
            Self::Added(_) | Self::Deleted(_) => None,
        }
    }

    /// Old and new state, whichever exist: for queues that must hear of both when a relation between objects moves.
    pub fn states(&self) -> impl Iterator<Item = &Arc<K>> {
        self.old().into_iter().chain([self.object()])
    }
}

pub(crate) type IndexFn<K> = fn(&K) -> Vec<String>;

struct Index<K> {
    values: IndexFn<K>,
    keys: HashMap<String, BTreeSet<ObjectKey>>,
}

struct State<K> {
    objects: HashMap<ObjectKey, Arc<K>>,
    indexes: HashMap<&'static str, Index<K>>,
}

type Handler<K> = Box<dyn FnMut(&Event<K>) -> bool + Send>;

struct Shared<K> {
    state: RwLock<State<K>>,
    /// Held while an event is applied and told, so that a new handler sees each object exactly once. Never taken while
    /// `state` is held.
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
    revision: AtomicU64,
}

/// A cheap handle to the objects an [`Informer`](crate::Informer) keeps.
///
/// # Guarantees
/// Objects are shared, never copied. Events arrive in the order of the watch; when one arrives, the store already holds
/// its new state.
pub struct Store<K>(Arc<Shared<K>>);

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Resource + Send + Sync + 'static> Store<K> {
    pub(crate) fn new(indexes: impl IntoIterator<Item = (&'static str, IndexFn<K>)>) -> Self {
        let indexes =
            indexes.into_iter().map(|(name, values)| (name, Index { values, keys: HashMap::new() })).collect();
        Self(Arc::new(Shared {
            state: RwLock::new(State { objects: HashMap::new(), indexes }),
            handlers: Mutex::new(Vec::new()),
            synced: watch::Sender::new(false),
            revision: AtomicU64::new(0),
        }))
    }

    /// A store that holds fixed objects and follows nothing; for tests of what reads stores.
    pub fn fixed(
        objects: impl IntoIterator<Item = K>,
        indexes: impl IntoIterator<Item = (&'static str, fn(&K) -> Vec<String>)>,
    ) -> Self {
        let store = Self::new(indexes);
        for object in objects {
            store.apply(Arc::new(object));
        }
        store.mark_synced();
        store
    }

    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        // The sender lives as long as the store, so this wait ends only with success.
        let _ = self.0.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Whether the first list is complete.
    pub fn is_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    /// The newest resource version seen; resource versions of one kind can be compared (KEP-5504).
    ///
    /// A store whose revision has reached that of a write shows the write.
    pub fn revision(&self) -> u64 {
        self.0.revision.load(Ordering::Acquire)
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read(|state| state.objects.get(key).cloned())
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.read(|state| state.objects.values().cloned().collect())
    }

    /// The objects that fulfil a condition, in no order. The condition must be quick and read no store.
    pub fn select(&self, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.read(|state| state.objects.values().filter(|object| wanted(object)).cloned().collect())
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read(|state| state.objects.len())
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects an index has under a value, ordered by key; none for an index that was not declared.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        self.read(|state| {
            let keys = state.indexes.get(name).and_then(|index| index.keys.get(value));
            keys.into_iter().flatten().filter_map(|key| state.objects.get(key).cloned()).collect()
        })
    }

    /// Calls a function for every object there is (as [`Event::Added`]) and then for every event.
    ///
    /// It runs in the informer's task: it must be quick, may read stores, must not register handlers.
    pub fn on_event(&self, mut handler: impl FnMut(&Event<K>) + Send + 'static) {
        self.register(Box::new(move |event| {
            handler(event);
            true
        }));
    }

    /// The same as a channel; it ends its registration when the receiver is dropped.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Event<K>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.register(Box::new(move |event| sender.send(event.clone()).is_ok()));
        receiver
    }

    fn register(&self, mut handler: Handler<K>) {
        let mut handlers = self.0.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        if self.list().into_iter().all(|object| handler(&Event::Added(object))) {
            handlers.push(handler);
        }
    }

    pub(crate) fn mark_synced(&self) {
        self.0.synced.send_replace(true);
    }

    pub(crate) fn apply(&self, object: Arc<K>) {
        self.tell(|store| store.insert(object).into_iter().collect());
    }

    pub(crate) fn delete(&self, object: Arc<K>) {
        self.tell(|store| store.remove(&ObjectKey::of(object.as_ref()), Some(object)).into_iter().collect());
    }

    /// Takes the result of a new list: what it lacks was deleted.
    pub(crate) fn replace(&self, objects: Vec<Arc<K>>) {
        let listed: BTreeSet<ObjectKey> = objects.iter().map(|object| ObjectKey::of(object.as_ref())).collect();
        self.tell(|store| {
            let known = store.read(|state| state.objects.keys().cloned().collect::<Vec<_>>());
            let gone = known.iter().filter(|key| !listed.contains(key));
            let mut events: Vec<_> = gone.filter_map(|key| store.remove(key, None)).collect();
            events.extend(objects.into_iter().filter_map(|object| store.insert(object)));
            events
        });
    }

    /// Changes the state, then moves the revision, then tells: whoever is told or reads the revision finds the change.
    fn tell(&self, change: impl FnOnce(&Self) -> Vec<Event<K>>) {
        let mut handlers = self.0.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        let events = change(self);
        for event in &events {
            self.advance(event.object());
        }
        for event in &events {
            handlers.retain_mut(|handler| handler(event));
        }
    }

    fn insert(&self, new: Arc<K>) -> Option<Event<K>> {
        let key = ObjectKey::of(new.as_ref());
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        let old = state.objects.insert(key.clone(), Arc::clone(&new));
        let unchanged = old.as_ref().is_some_and(|old| {
            old.meta().resource_version.is_some() && old.meta().resource_version == new.meta().resource_version
        });
        if unchanged {
            return None;
        }
        for index in state.indexes.values_mut() {
            index.replace(&key, old.as_deref(), Some(&new));
        }
        Some(match old {
            None => Event::Added(new),
            Some(old) => Event::Updated { old, new },
        })
    }

    fn remove(&self, key: &ObjectKey, last: Option<Arc<K>>) -> Option<Event<K>> {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        let old = state.objects.remove(key)?;
        for index in state.indexes.values_mut() {
            index.replace(key, Some(&old), None);
        }
        Some(Event::Deleted(last.unwrap_or(old)))
    }

    fn advance(&self, object: &K) {
        let version = object.meta().resource_version.as_deref();
        if let Some(revision) = version.and_then(|text| text.parse().ok()) {
            self.0.revision.fetch_max(revision, Ordering::AcqRel);
        }
    }

    fn read<R>(&self, look: impl FnOnce(&State<K>) -> R) -> R {
        look(&self.0.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K> Index<K> {
    fn replace(&mut self, key: &ObjectKey, old: Option<&K>, new: Option<&K>) {
        for value in old.map(self.values).unwrap_or_default() {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
        for value in new.map(self.values).unwrap_or_default() {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, revision: u32) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"namespace": "default", "name": name, "resourceVersion": revision.to_string()},
                "spec": {"nodeName": node, "containers": []},
            }))
            .unwrap(),
        )
    }

    fn by_node() -> Store<Pod> {
        Store::new([(
            "node",
            (|pod: &Pod| pod.spec.iter().filter_map(|spec| spec.node_name.clone()).collect()) as IndexFn<Pod>,
        )])
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect()
    }

    #[test]
    fn an_index_follows_an_object_that_moves() {
        let store = by_node();
        store.apply(pod("a", "one", 1));
        store.apply(pod("b", "one", 2));
        assert_eq!(names(&store.by_index("node", "one")), ["a", "b"]);
        store.apply(pod("a", "two", 3));
        assert_eq!(names(&store.by_index("node", "one")), ["b"]);
        assert_eq!(names(&store.by_index("node", "two")), ["a"]);
        store.delete(pod("a", "two", 4));
        assert!(store.by_index("node", "two").is_empty());
    }

    #[test]
    fn a_late_subscriber_sees_every_object_once() {
        let store = by_node();
        store.apply(pod("a", "one", 1));
        let mut events = store.subscribe();
        store.apply(pod("b", "one", 2));
        assert!(matches!(events.try_recv().unwrap(), Event::Added(pod) if pod.metadata.name.as_deref() == Some("a")));
        assert!(matches!(events.try_recv().unwrap(), Event::Added(pod) if pod.metadata.name.as_deref() == Some("b")));
        assert!(events.try_recv().is_err());
    }

    #[test]
    fn a_new_list_tells_what_is_gone_and_is_silent_about_what_stayed() {
        let store = by_node();
        store.apply(pod("a", "one", 1));
        store.apply(pod("b", "one", 2));
        let mut events = store.subscribe();
        while events.try_recv().is_ok() {}
        store.replace(vec![pod("b", "one", 2), pod("c", "one", 5)]);
        assert!(matches!(events.try_recv().unwrap(), Event::Deleted(pod) if pod.metadata.name.as_deref() == Some("a")));
        assert!(matches!(events.try_recv().unwrap(), Event::Added(pod) if pod.metadata.name.as_deref() == Some("c")));
        assert!(events.try_recv().is_err());
    }

    #[test]
    fn a_dropped_subscriber_is_forgotten() {
        let store = by_node();
        drop(store.subscribe());
        store.apply(pod("a", "one", 1));
        assert!(store.0.handlers.lock().unwrap().is_empty());
    }

    #[test]
    fn a_handler_may_read_the_store_and_finds_the_new_state() {
        let store = by_node();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (reader, log) = (store.clone(), Arc::clone(&seen));
        store.on_event(move |event| {
            log.lock().unwrap().push(reader.get(&ObjectKey::of(event.object().as_ref())).is_some());
        });
        store.apply(pod("a", "one", 1));
        store.delete(pod("a", "one", 2));
        assert_eq!(*seen.lock().unwrap(), [true, false]);
    }
}
