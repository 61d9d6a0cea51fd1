//! Keeps the zone equal to the Services and `EndpointSlices` of the API server.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use controller_runtime::{Informer, ObjectKey, Store};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::records;
use crate::zone::{ServiceKey, Zone};

/// The label that says whose endpoints a slice holds.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The index of slices by namespace and Service.
const BY_SERVICE: &str = "service";

/// Follows the API server; a cheap handle.
#[derive(Clone)]
pub struct Source {
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    changed: Arc<Changed>,
}

#[derive(Default)]
struct Changed {
    services: Mutex<HashSet<ServiceKey>>,
    wake: Notify,
}

impl Changed {
    fn note(&self, keys: impl IntoIterator<Item = ServiceKey>) {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
        self.wake.notify_one();
    }

    fn take(&self) -> HashSet<ServiceKey> {
        std::mem::take(&mut self.services.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Source {
    /// Starts to follow.
    pub fn start(client: &kube::Client, token: &CancellationToken) -> Self {
        let services = Informer::<Service>::new(Api::all(client.clone())).trim(|s| s.metadata.annotations = None);
        let slices = Informer::<EndpointSlice>::new(Api::all(client.clone()))
            .index(BY_SERVICE, |slice| owner(slice).map(|(ns, name)| format!("{ns}/{name}")).into_iter().collect())
            .trim(|slice| slice.metadata.annotations = None);
        Self::follow(services.start(token.clone()), slices.start(token.clone()))
    }

    fn follow(services: Store<Service>, slices: Store<EndpointSlice>) -> Self {
        let changed = Arc::new(Changed::default());
        let note = Arc::clone(&changed);
        services.on_event(move |event| {
            let meta = &event.object().metadata;
            note.note([(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())]);
        });
        let note = Arc::clone(&changed);
        slices.on_event(move |event| note.note(event.states().filter_map(|s| owner(s))));
        Self { services, slices, changed }
    }

    /// Whether the first lists are complete.
    pub fn is_synced(&self) -> bool {
        self.services.is_synced() && self.slices.is_synced()
    }

    /// Keeps the zone up to date until the token is cancelled; `loaded` is told once it is whole.
    pub async fn run(self, zone: Arc<RwLock<Zone>>, loaded: impl FnOnce(), token: CancellationToken) {
        tokio::select! {
            () = token.cancelled() => return,
            () = async { self.services.synced().await; self.slices.synced().await; } => {}
        }
        self.apply(&zone);
        loaded();
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                () = self.changed.wake.notified() => self.apply(&zone),
            }
        }
    }

    fn apply(&self, zone: &RwLock<Zone>) {
        // Read first, so that questions wait only while the table is changed.
        let read: Vec<_> = self
            .changed
            .take()
            .into_iter()
            .map(|key| {
                let service = self.services.get(&ObjectKey::new(&key.0, &key.1));
                let slices = self.slices.by_index(BY_SERVICE, &format!("{}/{}", key.0, key.1));
                let target = service.and_then(|service| records::read(&service, &slices));
                (key, target)
            })
            .collect();
        let mut zone = zone.write().unwrap_or_else(PoisonError::into_inner);
        for (key, target) in read {
            zone.set(key, target);
        }
    }
}

fn owner(slice: &EndpointSlice) -> Option<ServiceKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?.clone();
    Some((slice.metadata.namespace.clone().unwrap_or_default(), name))
}
