//! What a controller is given.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use controller_runtime::{ObjectKey, Recorder, Requeue, Store, WorkQueue, run_workers};
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::kinds::Kinds;
use crate::stores::Stores;

/// Workers of a controller, unless it says otherwise: enough that one slow request does not hold back all others.
pub(crate) const WORKERS: usize = 5;

/// The surroundings of one controller.
#[derive(Clone)]
pub(crate) struct Scope {
    /// Acts with the controller's own identity.
    pub(crate) client: Client,
    /// Lists and watches with the program's identity, which may get nothing that it knows the name of.
    pub(crate) reader: Client,
    pub(crate) stores: Stores,
    pub(crate) kinds: Kinds,
    pub(crate) recorder: Recorder,
    pub(crate) config: Arc<Config>,
    pub(crate) token: CancellationToken,
}

impl Scope {
    /// The objects of a kind in a namespace.
    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Adds the key of every object of a store that changes to a queue.
    pub(crate) fn feed<K>(store: &Store<K>, queue: &WorkQueue<ObjectKey>)
    where
        K: Resource + Send + Sync + 'static,
    {
        let queue = queue.clone();
        store.on_event(move |event| queue.add(ObjectKey::of(event.object().as_ref())));
    }

    /// Works on a queue until the program stops.
    pub(crate) async fn work<T, F, Fut, E>(&self, queue: WorkQueue<T>, workers: usize, reconcile: F)
    where
        T: Clone + Eq + Hash + Debug + Send + 'static,
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Requeue, E>> + Send + 'static,
        E: Display + Debug + Send + 'static,
    {
        let (closing, token) = (queue.clone(), self.token.clone());
        tokio::spawn(async move {
            token.cancelled().await;
            closing.close();
        });
        run_workers(queue, workers, reconcile).await;
    }
}

/// A deletion of something that may be gone already, or be another object of the same name, has succeeded.
pub(crate) fn gone_is_fine<T>(outcome: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match outcome {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}
