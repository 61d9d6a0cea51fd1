//! All kinds this server serves: a row of the table, its part of etcd and its cache.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::{ResourceDescriptor, Served};
use apimachinery::{Object, Status};
use bytes::Bytes;
use storage::{Cacher, Codec, DecodeError, Etcd};
use tokio_util::sync::CancellationToken;

use crate::encryption::Encryption;
use crate::error;
use crate::metrics::EtcdTimes;
use crate::stored::{ObjectCodec, Stored};

/// One group-version-resource that can be asked for.
pub struct Resource {
    /// The row of the table.
    pub descriptor: &'static ResourceDescriptor,
    /// How the stored form differs from this one; `None` where it is the stored form.
    pub served: Option<&'static Served>,
    /// The objects; `None` for kinds that are never stored.
    pub store: Option<Arc<Store>>,
}

/// The objects of one kind, whatever versions they are served in.
pub struct Store {
    /// The folder in etcd, with a slash at its end.
    pub prefix: String,
    /// The cache in front of it.
    pub cacher: Arc<Cacher<Stored>>,
    /// How bytes of etcd become objects.
    pub codec: Arc<ObjectCodec>,
    /// How long etcd takes for this kind.
    pub times: EtcdTimes,
    descriptor: &'static ResourceDescriptor,
}

impl Resource {
    /// The group it is asked for in.
    pub fn group(&self) -> &'static str {
        self.served.map_or(self.descriptor.group, |served| served.group)
    }

    /// The version it is asked for in.
    pub fn version(&self) -> &'static str {
        self.served.map_or(self.descriptor.version, |served| served.version)
    }

    /// The `apiVersion` it is asked for in.
    pub fn api_version(&self) -> String {
        api::resource::join_group_version(self.group(), self.version())
    }
}

/// All resources by group, version and plural name.
pub struct Registry {
    by_path: HashMap<(String, String, String), Arc<Resource>>,
    /// The resources in the order of discovery.
    ordered: Vec<Arc<Resource>>,
    by_storage: BTreeMap<&'static str, BTreeMap<&'static str, Arc<Resource>>>,
}

impl Registry {
    /// Builds the table and starts one cache for each stored kind.
    pub fn start(etcd: &Etcd, prefix: &str, encryption: &Arc<Encryption>, token: &CancellationToken) -> Self {
        let mut registry = Self { by_path: HashMap::new(), ordered: Vec::new(), by_storage: BTreeMap::new() };
        for descriptor in api::resources() {
            let store = descriptor.is_stored().then(|| {
                let prefix = format!("{prefix}/{}/", descriptor.storage_prefix);
                let codec = Arc::new(ObjectCodec::new(descriptor, encryption));
                let decoder = Arc::clone(&codec);
                let cacher = Cacher::start(etcd.clone(), &*prefix, Decoder(decoder), token.clone());
                Arc::new(Store { prefix, cacher, codec, times: EtcdTimes::default(), descriptor })
            });
            registry.add(Resource { descriptor, served: None, store: store.clone() });
            for served in descriptor.also_served {
                registry.add(Resource { descriptor, served: Some(served), store: store.clone() });
            }
        }
        registry
    }

    fn add(&mut self, resource: Resource) {
        let descriptor = resource.descriptor;
        let key = (resource.group().to_owned(), resource.version().to_owned(), descriptor.plural.to_owned());
        let resource = Arc::new(resource);
        if resource.served.is_none() {
            let group = self.by_storage.entry(descriptor.group).or_default();
            group.insert(descriptor.plural, resource.clone());
        }
        self.by_path.insert(key, resource.clone());
        self.ordered.push(resource);
    }

    /// The resource a path names.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.by_path.get(&(group.to_owned(), version.to_owned(), plural.to_owned())).cloned()
    }

    /// The resource in its stored version.
    pub fn stored(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_storage.get(group)?.get(plural)
    }

    /// All resources, group by group.
    pub fn all(&self) -> &[Arc<Resource>] {
        &self.ordered
    }

    /// An object as the cache knows it now; `namespace` is empty for cluster-scoped kinds.
    pub fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Stored>> {
        let store = self.stored(group, plural)?.store.as_ref()?;
        store.cacher.get(&store.key(namespace, name)).ok().flatten()
    }

    /// An object at least as new as this server has written it itself; etcd is asked only if the cache has none.
    pub async fn get_fresh(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Stored>> {
        let store = self.stored(group, plural)?.store.as_ref()?;
        let key = store.key(namespace, name);
        if let Ok(snapshot) = store.cacher.settled().await
            && let Ok(Some(found)) = snapshot.get(&key)
        {
            return Some(found);
        }
        store.cacher.latest(&key).await.ok()?.0
    }

    /// The objects of a namespace (all namespaces if empty) as the cache knows them now.
    pub fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Stored>> {
        let Some(store) = self.stored(group, plural).and_then(|resource| resource.store.as_ref()) else {
            return Vec::new();
        };
        let snapshot = store.cacher.snapshot();
        let Ok(range) = snapshot.range(&store.folder(namespace)) else { return Vec::new() };
        range.map(|(_, object)| Arc::clone(object)).collect()
    }

    /// The objects of a namespace with everything that this server has written itself: who has made a rule may count on
    /// it for what comes next.
    ///
    /// # Errors
    /// If etcd does not tell of the writes.
    pub async fn list_settled(&self, group: &str, plural: &str, namespace: &str) -> Result<Vec<Object>, Status> {
        let Some(store) = self.stored(group, plural).and_then(|resource| resource.store.as_ref()) else {
            return Ok(Vec::new());
        };
        let snapshot = store.cacher.settled().await.map_err(|error| error::from_wait(&error))?;
        let range = snapshot.range(&store.folder(namespace)).map_err(|error| error::from_read(&error))?;
        Ok(range.map(|(_, stored)| stored.object()).collect())
    }

    /// Reads again what could not be opened whenever there are new keys, until the token is cancelled.
    pub async fn follow_keys(&self, encryption: &Encryption, token: &CancellationToken) {
        let troubled = || self.stores().any(|store| store.cacher.has_undecodable());
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                () = encryption.mended(troubled) => {}
            }
            self.stores().filter(|store| store.cacher.has_undecodable()).for_each(|store| store.cacher.refill());
        }
    }

    fn stores(&self) -> impl Iterator<Item = &Arc<Store>> {
        self.by_storage.values().flat_map(BTreeMap::values).filter_map(|resource| resource.store.as_ref())
    }

    /// Returns when every cache has been filled once.
    pub async fn ready(&self) {
        for resource in self.by_storage.values().flat_map(BTreeMap::values) {
            if let Some(store) = &resource.store {
                store.cacher.ready().await;
            }
        }
    }

    /// The first kind whose cache is not filled yet.
    pub fn first_unready(&self) -> Option<&'static str> {
        let filled = |resource: &Arc<Resource>| resource.store.as_ref().is_none_or(|store| store.cacher.is_ready());
        let mut all = self.by_storage.values().flat_map(BTreeMap::values);
        let unready = all.find(|resource| !filled(resource))?;
        Some(unready.descriptor.plural)
    }
}

/// A codec shared between a cache and those who write.
struct Decoder(Arc<ObjectCodec>);

impl Codec<Stored> for Decoder {
    fn decode(&self, key: &str, value: Bytes, revision: i64) -> Result<Stored, DecodeError> {
        self.0.decode(key, value, revision)
    }

    fn deleted(&self, last: &Arc<Stored>, revision: i64) -> Arc<Stored> {
        self.0.deleted(last, revision)
    }
}

impl Store {
    /// The etcd key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if namespace.is_empty() {
            format!("{}{name}", self.prefix)
        } else {
            format!("{}{namespace}/{name}", self.prefix)
        }
    }

    /// The row of the table.
    pub fn descriptor(&self) -> &'static ResourceDescriptor {
        self.descriptor
    }

    /// The etcd folder of a namespace, or of the whole kind.
    pub fn folder(&self, namespace: &str) -> String {
        if namespace.is_empty() { self.prefix.clone() } else { format!("{}{namespace}/", self.prefix) }
    }
}
