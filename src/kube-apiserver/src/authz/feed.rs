//! Keeps the authorizers up to date from the caches, and the policy complete in etcd.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Object, Status};
use futures::{StreamExt, TryStreamExt, stream};
use rand::RngExt;
use storage::{CacheEvent, Closed, Since, StorageError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::policy::{self, Repair};
use super::{Authorizer, rbac};
use crate::error;
use crate::registry::{Registry, Store};
use crate::stored::Stored;
use crate::verbs::store::Cursor;

/// What the Node authorizer follows.
const NODE_SOURCES: [(&str, &str); 3] =
    [("", "pods"), ("", "persistentvolumes"), ("storage.k8s.io", "volumeattachments")];
/// How many objects of the policy are written at once.
const WRITERS: usize = 16;
/// How long a broken history is waited for before the state is read again.
const PATIENCE: Duration = Duration::from_secs(10);

/// What takes in objects.
type Sink = Arc<dyn Fn(Change<'_>) + Send + Sync>;

/// One change.
enum Change<'a> {
    Put(&'a Object),
    Remove { namespace: &'a str, name: &'a str },
}

impl Authorizer {
    /// Loads what is there, then follows it until the token is cancelled. Returns when decisions can be made.
    pub async fn follow(&self, registry: &Registry, token: &CancellationToken) {
        for resource in rbac::RESOURCES {
            let rbac = self.rbac.clone();
            let sink: Sink = Arc::new(move |change| match change {
                Change::Put(object) => rbac.put(object),
                Change::Remove { namespace, name } => rbac.remove(resource, namespace, name),
            });
            start(registry, (rbac::GROUP, resource), sink, token).await;
        }
        for (group, resource) in NODE_SOURCES {
            let node = self.node.clone();
            let sink: Sink = Arc::new(move |change| match change {
                Change::Put(object) => node.put(object),
                Change::Remove { namespace, name } => node.remove(resource, namespace, name),
            });
            start(registry, (group, resource), sink, token).await;
        }
    }
}

async fn start(registry: &Registry, (group, resource): (&str, &str), sink: Sink, token: &CancellationToken) {
    let Some(store) = registry.stored(group, resource).and_then(|resource| resource.store.clone()) else {
        return;
    };
    store.cacher.ready().await;
    let mut follower = Follower { store, sink, known: HashSet::new() };
    let since = follower.load();
    let token = token.clone();
    tokio::spawn(async move { token.run_until_cancelled(follower.run(since)).await });
}

struct Follower {
    store: Arc<Store>,
    sink: Sink,
    /// Namespace and name of what the sink has, to find out after a gap what is gone.
    known: HashSet<(Box<str>, Box<str>)>,
}

impl Follower {
    /// Gives the sink the whole state and returns its revision.
    fn load(&mut self) -> i64 {
        let snapshot = self.store.cacher.snapshot();
        let range = match snapshot.range(&self.store.prefix) {
            Ok(range) => range,
            Err(error) => {
                // Without the whole truth the last one stands: forgetting a binding could only take rights away,
                // forgetting all of them would lock everybody out who could mend it.
                tracing::error!(%error, prefix = self.store.prefix, "roles or pods cannot be read");
                return snapshot.revision;
            }
        };
        let mut gone = std::mem::take(&mut self.known);
        for (_, stored) in range {
            gone.remove(&(stored.namespace.clone(), stored.name.clone()));
            self.put(stored);
        }
        for (namespace, name) in gone {
            (self.sink)(Change::Remove { namespace: &namespace, name: &name });
        }
        snapshot.revision
    }

    fn put(&mut self, stored: &Stored) {
        (self.sink)(Change::Put(&stored.object()));
        self.known.insert((stored.namespace.clone(), stored.name.clone()));
    }

    async fn run(mut self, mut since: i64) {
        loop {
            let watch = self.store.cacher.watch(&self.store.prefix, Since::Revision(since));
            let Ok(mut watcher) = watch else {
                self.store.cacher.ready().await;
                since = self.load();
                continue;
            };
            while let Some(event) = watcher.next().await {
                since = event.revision();
                self.take(&event);
            }
            if watcher.closed() != Some(Closed::Slow) {
                let next = since.saturating_add(1);
                // Whether it came or not, the next round looks.
                let _ = self.store.cacher.wait_for(next, PATIENCE).await;
                since = self.load();
            }
        }
    }

    fn take(&mut self, event: &CacheEvent<Stored>) {
        match event {
            CacheEvent::Put { new, .. } => self.put(new),
            CacheEvent::Delete { old, .. } => {
                (self.sink)(Change::Remove { namespace: &old.namespace, name: &old.name });
                self.known.remove(&(old.namespace.clone(), old.name.clone()));
            }
            CacheEvent::Bookmark { .. } => {}
        }
    }
}

/// Creates what is missing of the policy and repairs what was taken from it.
pub async fn ensure_policy(registry: &Registry) -> Result<(), Status> {
    let (roles, bindings): (Vec<Object>, Vec<Object>) =
        policy::objects().into_iter().partition(|object| object.kind().ends_with("Role"));
    for mut part in [roles, bindings] {
        // Servers that start at the same time begin at different places: each finds most of its work done by the others.
        let first = rand::rng().random_range(0..part.len());
        part.rotate_left(first);
        stream::iter(part).map(|wanted| ensure(registry, wanted)).buffer_unordered(WRITERS).try_collect::<()>().await?;
    }
    Ok(())
}

async fn ensure(registry: &Registry, wanted: Object) -> Result<(), Status> {
    let resource = format!("{}s", wanted.kind().to_ascii_lowercase());
    let Some(store) = registry.stored(rbac::GROUP, &resource).and_then(|resource| resource.store.as_ref()) else {
        return Ok(());
    };
    let key = store.key(wanted.namespace(), wanted.name());
    let mut cursor = Cursor::open(store, key.clone()).await?;
    loop {
        let Some(current) = cursor.current() else {
            match store.create(&key, &fresh(&wanted), None).await {
                Ok(_) => return Ok(()),
                Err(StorageError::Exists { .. }) => cursor.refresh().await?,
                Err(failed) => return Err(error::from_storage(&failed)),
            }
            continue;
        };
        match policy::reconcile(&current.object(), &wanted) {
            Repair::Nothing => return Ok(()),
            Repair::Update(object) => {
                if cursor.write(&object, None).await?.is_some() {
                    return Ok(());
                }
            }
            Repair::Replace => {
                cursor.remove().await?;
                cursor.refresh().await?;
            }
        }
    }
}

fn fresh(wanted: &Object) -> Object {
    let mut object = wanted.clone();
    object.set_uid(&Uuid::new_v4().to_string());
    object.set_creation_timestamp(&apimachinery::time::format(jiff::Timestamp::now()));
    object
}
