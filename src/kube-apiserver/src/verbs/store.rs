//! Guarded writes: every change is one transaction against the revision it was made from.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Object, Status};
use storage::{KeyValue, StorageError};

use crate::error;
use crate::registry::Store;
use crate::stored::{Stored, encode};

impl Store {
    /// Stores a new object.
    ///
    /// # Errors
    /// [`StorageError::Exists`] if the key is taken.
    pub async fn create(&self, key: &str, object: &Object, ttl: Option<Duration>) -> Result<Arc<Stored>, StorageError> {
        let value = encode(object);
        let revision = self.cacher.etcd().create(key, value.clone(), ttl).await?;
        self.made_of(&value, revision)
    }

    /// The object as a quorum of etcd knows it.
    ///
    /// # Errors
    /// If etcd fails or the value cannot be read.
    pub async fn read(&self, key: &str) -> Result<Option<Arc<Stored>>, StorageError> {
        let (found, _) = self.cacher.etcd().get(key).await?;
        found.map(|value| self.made_of(&value.value, value.mod_revision)).transpose()
    }

    /// An object made of bytes that were read or written by ourselves.
    fn made_of(&self, value: &bytes::Bytes, revision: i64) -> Result<Arc<Stored>, StorageError> {
        match self.codec.stored(value, revision) {
            Ok(stored) => Ok(Arc::new(stored)),
            Err(reason) => {
                tracing::error!(revision, %reason, "an object cannot be read");
                Err(StorageError::Malformed("a value cannot be decoded"))
            }
        }
    }
}

/// One object being changed: its last known state, and whether a quorum has confirmed it.
pub struct Cursor<'a> {
    store: &'a Store,
    key: String,
    current: Option<Arc<Stored>>,
    fresh: bool,
}

impl<'a> Cursor<'a> {
    /// Begins with what the cache knows; most often that is the newest state.
    ///
    /// # Errors
    /// If etcd fails.
    pub async fn open(store: &'a Store, key: String) -> Result<Self, Status> {
        let current = store.cacher.get(&key).ok().flatten();
        let mut cursor = Self { store, key, current, fresh: false };
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
        let expected = self.current.as_ref().map_or(0, |current| current.revision);
        match self.store.cacher.etcd().update(&self.key, value.clone(), expected, ttl).await {
            Ok(revision) => {
                let written = self.store.made_of(&value, revision);
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
        match self.store.cacher.etcd().delete(&self.key, current.revision).await {
            Ok(revision) => Ok(Some(storage::Codec::deleted(&*self.store.codec, &current, revision))),
            Err(error) => self.after(error).map(|()| None),
        }
    }

    /// Takes over the state a refused transaction answered with.
    fn after(&mut self, error: StorageError) -> Result<(), Status> {
        let StorageError::Conflict { current } = error else { return Err(error::from_storage(&error)) };
        let made = |kv: Box<KeyValue>| self.store.made_of(&kv.value, kv.mod_revision);
        self.current = current.map(made).transpose().map_err(|error| error::from_storage(&error))?;
        self.fresh = true;
        Ok(())
    }
}
