//! Guarded writes: every change is one transaction against the revision it was made from.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Object, Status};
use bytes::Bytes;
use storage::{DecodeError, KeyValue, StorageError};

use crate::error;
use crate::metrics::EtcdOperation;
use crate::registry::Store;
use crate::stored::{Stored, encode};

impl Store {
    /// Stores a new object.
    ///
    /// # Errors
    /// [`StorageError::Exists`] if the key is taken.
    pub async fn create(&self, key: &str, object: &Object, ttl: Option<Duration>) -> Result<Arc<Stored>, StorageError> {
        let value = encode(object);
        let sealed = self.seal(key, &value)?;
        let created = self.cacher.etcd().create(key, sealed, ttl);
        let revision = self.times.of(EtcdOperation::Create, created).await?;
        self.written(key, &value, revision)
    }

    /// An object as it goes into etcd, for writes of several at once.
    ///
    /// # Errors
    /// If it cannot be sealed.
    pub fn sealed(&self, key: &str, object: &Object) -> Result<Bytes, StorageError> {
        self.seal(key, &encode(object))
    }

    /// The object made of bytes that were written just now; the cache takes it over.
    fn written(&self, key: &str, value: &Bytes, revision: i64) -> Result<Arc<Stored>, StorageError> {
        readable(self.cacher.adopt(key, revision, || self.codec.stored(value, revision)), revision)
    }

    /// The object as a quorum of etcd knows it.
    ///
    /// # Errors
    /// If etcd fails or the value cannot be read.
    pub async fn read(&self, key: &str) -> Result<Option<Arc<Stored>>, StorageError> {
        let (found, _) = self.times.of(EtcdOperation::Get, self.cacher.etcd().get(key)).await?;
        found.map(|value| self.made_of(value)).transpose()
    }

    /// An object made of a value of etcd.
    ///
    /// # Errors
    /// If the value cannot be read.
    pub fn made_of(&self, kv: KeyValue) -> Result<Arc<Stored>, StorageError> {
        let revision = kv.mod_revision;
        let decoded = storage::Codec::decode(&*self.codec, &kv.key, kv.value, revision);
        readable(decoded.map(Arc::new), revision)
    }

    fn seal(&self, key: &str, value: &Bytes) -> Result<Bytes, StorageError> {
        self.codec.sealer().seal(key, value).map_err(|error| {
            tracing::error!(key, %error, "an object cannot be sealed");
            StorageError::Malformed("a value cannot be sealed")
        })
    }
}

fn readable(stored: Result<Arc<Stored>, DecodeError>, revision: i64) -> Result<Arc<Stored>, StorageError> {
    stored.map_err(|reason| {
        tracing::error!(revision, %reason, "an object cannot be read");
        StorageError::Malformed("a value cannot be decoded")
    })
}

/// One object being changed: its last known state, and whether a quorum has confirmed it.
pub struct Cursor<'a> {
    store: &'a Store,
    key: String,
    current: Option<Arc<Stored>>,
    fresh: bool,
    unclear: bool,
}

impl<'a> Cursor<'a> {
    /// Begins with what the cache knows; most often that is the newest state.
    ///
    /// # Errors
    /// If etcd fails.
    pub async fn open(store: &'a Store, key: String) -> Result<Self, Status> {
        let current = store.cacher.get(&key).ok().flatten();
        let mut cursor = Self { store, key, current, fresh: false, unclear: false };
        if cursor.current.is_none() {
            cursor.refresh().await?;
        }
        Ok(cursor)
    }

    /// The object; `None` if a quorum has none.
    pub fn current(&self) -> Option<Arc<Stored>> {
        self.current.clone()
    }

    /// True while the state comes from the cache and may be old: no refusal may rest on it.
    pub fn may_be_stale(&self) -> bool {
        !self.fresh
    }

    /// True if a write has failed that may have happened all the same: what was set aside for it must stay so.
    pub fn is_unclear(&self) -> bool {
        self.unclear
    }

    /// Reads the newest state from a quorum.
    ///
    /// # Errors
    /// If etcd fails.
    pub async fn refresh(&mut self) -> Result<(), Status> {
        self.current = self.store.read(&self.key).await.map_err(|error| error::from_storage(&error))?;
        self.fresh = true;
        Ok(())
    }

    /// Writes the next state; `None` if somebody was faster and the state has to be made anew.
    ///
    /// # Errors
    /// If etcd fails.
    pub async fn write(&mut self, object: &Object, ttl: Option<Duration>) -> Result<Option<Arc<Stored>>, Status> {
        let value = encode(object);
        let sealed = self.store.seal(&self.key, &value).map_err(|error| error::from_storage(&error))?;
        let expected = self.current.as_ref().map_or(0, |current| current.revision);
        let updated = self.store.cacher.etcd().update(&self.key, sealed, expected, ttl);
        match self.store.times.of(EtcdOperation::Update, updated).await {
            Ok(revision) => {
                let written = self.store.written(&self.key, &value, revision);
                written.map(Some).map_err(|error| error::from_storage(&error))
            }
            Err(error) => self.after(error).map(|()| None),
        }
    }

    /// Removes the object and returns its last state at the revision of the removal; `None` as for a write.
    ///
    /// # Errors
    /// If etcd fails.
    pub async fn remove(&mut self) -> Result<Option<Arc<Stored>>, Status> {
        let Some(current) = self.current.clone() else { return Ok(None) };
        let deleted = self.store.cacher.etcd().delete(&self.key, current.revision);
        match self.store.times.of(EtcdOperation::Delete, deleted).await {
            Ok(revision) => Ok(Some(storage::Codec::deleted(&*self.store.codec, &current, revision))),
            Err(error) => self.after(error).map(|()| None),
        }
    }

    /// Takes over the state a refused transaction answered with.
    fn after(&mut self, error: StorageError) -> Result<(), Status> {
        self.unclear = error.is_unclear();
        let StorageError::Conflict { current } = error else { return Err(error::from_storage(&error)) };
        let made = |kv: Box<KeyValue>| self.store.made_of(*kv);
        self.current = current.map(made).transpose().map_err(|error| error::from_storage(&error))?;
        self.fresh = true;
        Ok(())
    }
}
