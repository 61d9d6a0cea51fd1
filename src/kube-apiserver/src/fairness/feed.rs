//! Keeps the default objects in etcd and this server in line with all objects.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Object, Status};
use storage::{Since, StorageError, Watcher};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::defaults::{self, AUTO_UPDATE, MANDATORY};
use super::{Fairness, GROUP};
use crate::error;
use crate::first_objects::First;
use crate::registry::{Registry, Store};
use crate::service_plumbing::bootstrap::stamp;
use crate::stored::Stored;
use crate::verbs::store::Cursor;

const SCHEMAS: &str = "flowschemas";
const LEVELS: &str = "prioritylevelconfigurations";
/// The rest after a failure of etcd.
const RETRY: Duration = Duration::from_secs(1);

/// The default objects for a new cluster.
pub fn first() -> Vec<First> {
    let of = |plural, objects: Vec<Object>| objects.into_iter().map(move |object| (GROUP, plural, new(&object)));
    of(LEVELS, defaults::levels()).chain(of(SCHEMAS, defaults::schemas())).collect()
}

fn new(wanted: &Object) -> Object {
    let mut object = wanted.clone();
    object.set_generation(1);
    object
}

/// Takes over what is there and follows it until the token is cancelled; `complete` is told once the defaults are there
/// and obeyed.
pub async fn follow(
    fairness: Arc<Fairness>,
    registry: Arc<Registry>,
    token: CancellationToken,
    complete: oneshot::Sender<()>,
) {
    token.run_until_cancelled(run(&fairness, &registry, complete)).await;
}

async fn run(fairness: &Fairness, registry: &Registry, complete: oneshot::Sender<()>) {
    let mut complete = Some(complete);
    let store = |plural: &str| registry.stored(GROUP, plural).and_then(|resource| resource.store.clone());
    let (Some(schemas), Some(levels)) = (store(SCHEMAS), store(LEVELS)) else { return };
    loop {
        schemas.cacher.ready().await;
        levels.cacher.ready().await;
        let (Some(mut of_schemas), Some(mut of_levels)) = (watch(&schemas), watch(&levels)) else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let ensured = ensure(&schemas, &levels).await;
        let objects = |plural: &str| -> Vec<Object> {
            registry.list(GROUP, plural, "").iter().map(|stored| stored.object()).collect()
        };
        fairness.configure(&objects(SCHEMAS), &objects(LEVELS));
        if let Err(error) = ensured {
            tracing::warn!(%error, "the default flow schemas and priority levels are not complete");
            tokio::time::sleep(RETRY).await;
            continue;
        }
        if let Some(complete) = complete.take() {
            // Nobody listens any more in a server that ends.
            let _ = complete.send(());
        }
        // Whatever happens next, everything is looked at again: there are a few dozen objects.
        tokio::select! {
            _ = of_schemas.next() => {}
            _ = of_levels.next() => {}
        }
    }
}

fn watch(store: &Store) -> Option<Watcher<Stored>> {
    store.cacher.watch(&store.prefix, Since::Now).ok()
}

async fn ensure(schemas: &Store, levels: &Store) -> Result<(), Status> {
    for (store, wanted) in [(levels, defaults::levels()), (schemas, defaults::schemas())] {
        for object in wanted {
            keep(store, object).await?;
        }
    }
    Ok(())
}

/// Creates an object that is missing; gives one back its spec unless an administrator has taken it over.
async fn keep(store: &Store, mut wanted: Object) -> Result<(), Status> {
    (store.descriptor().strategy.default)(&mut wanted);
    let key = store.key("", wanted.name());
    let mut cursor = Cursor::open(store, key.clone()).await?;
    loop {
        let Some(current) = cursor.current() else {
            let mut object = new(&wanted);
            stamp(&mut object);
            match store.create(&key, &object, None).await {
                Ok(_) | Err(StorageError::Exists { .. }) => return Ok(()),
                Err(failed) => return Err(error::from_storage(&failed)),
            }
        };
        let mut object = current.object();
        let ours = object.annotations().str(AUTO_UPDATE) == "true" || MANDATORY.contains(&wanted.name());
        if !ours || object.at(&["spec"]) == wanted.at(&["spec"]) {
            return Ok(());
        }
        if let Some(spec) = wanted.at(&["spec"]) {
            object.set_at(&["spec"], spec.clone());
        }
        object.set_generation(object.generation() + 1);
        if cursor.write(&object, None).await?.is_some() {
            return Ok(());
        }
    }
}
