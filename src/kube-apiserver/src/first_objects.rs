//! What a cluster begins with, written into an empty etcd with a few commits instead of some two hundred.
//!
//! This spares work and decides nothing: each part has somebody who makes what is missing of it, object by object, and
//! goes on looking after it. In a new cluster they find it complete. A cluster that lives is left to them, since clients
//! may be watching it, whom many changes at one revision do not suit (see [`storage::Etcd::create_many`]).

use std::collections::BTreeMap;
use std::time::Duration;

use apimachinery::Object;
use bytes::Bytes;
use storage::StorageError;

use crate::app::App;
use crate::authz::policy;
use crate::fairness;
use crate::registry::Store;
use crate::service_plumbing::bootstrap;

/// Written with the last of the objects: where it is, all of them have been.
const LAST: (&str, &str, &str) = ("", "namespaces", "kube-system");
/// How long the caches are waited for, without which all is well too.
const PATIENCE: Duration = Duration::from_secs(10);

/// An object with the group and the plural of its kind.
pub type First = (&'static str, &'static str, Object);

/// Writes everything if there is nothing yet, and waits until the caches have it.
pub async fn seed(app: &App) {
    let (group, plural, name) = LAST;
    if app.registry.get(group, plural, "", name).is_some() {
        return;
    }
    if let Err(error) = write(app).await {
        tracing::warn!(%error, "the first objects are made one by one");
    }
}

fn objects(app: &App) -> Vec<First> {
    let mut objects = policy::first();
    if app.fairness.is_some() {
        objects.extend(fairness::first());
    }
    objects.extend(bootstrap::first());
    objects
}

async fn write(app: &App) -> Result<(), StorageError> {
    let mut stores: Vec<&Store> = Vec::new();
    let mut entries: Vec<(String, Bytes)> = Vec::new();
    for (group, plural, mut object) in objects(app) {
        let Some(store) = app.registry.stored(group, plural).and_then(|resource| resource.store.as_deref()) else {
            continue;
        };
        bootstrap::stamp(&mut object);
        (store.descriptor().strategy.default)(&mut object);
        let key = store.key(object.namespace(), object.name());
        entries.push((key.clone(), store.sealed(&key, &object)?));
        stores.push(store);
    }
    let made = app.etcd.create_many(&entries).await?;
    let mut newest: BTreeMap<&str, (&Store, i64)> = BTreeMap::new();
    for (store, creation) in stores.into_iter().zip(&made) {
        let (_, revision) = newest.entry(&store.prefix).or_insert((store, 0));
        *revision = creation.revision().max(*revision);
    }
    for (store, revision) in newest.into_values() {
        // A cache that comes late costs those who go on from here a few reads.
        let _ = store.cacher.wait_for(revision, PATIENCE).await;
    }
    Ok(())
}
