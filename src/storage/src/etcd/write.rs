//! Writes: each one a transaction with a guard that answers with the current value when it fails.

use super::{Etcd, read};
use crate::{KeyValue, StorageError};
use bytes::Bytes;
use etcd_client::proto::PbTxnOpResponse;
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use std::time::Duration;

/// What a transaction did.
enum Outcome {
    Done(i64),
    Refused(Option<Box<KeyValue>>),
}

impl Etcd {
    /// Stores a new key and returns its revision; with `ttl` it vanishes after at least that time.
    ///
    /// # Errors
    /// [`StorageError::Exists`] with the present value when the key is taken.
    pub async fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<i64, StorageError> {
        let put = self.put(key, value, ttl).await?;
        let guard = Compare::mod_revision(key, CompareOp::Equal, 0);
        match self.guarded(key, guard, put).await? {
            Outcome::Done(revision) => Ok(revision),
            Outcome::Refused(current) => Err(StorageError::Exists { current }),
        }
    }

    /// Replaces the value if the key is still at `expected` and returns the new revision.
    ///
    /// Without `ttl` the value loses the lease it may have had.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] with the present value when the key has moved on or is gone.
    pub async fn update(
        &self,
        key: &str,
        value: Bytes,
        expected: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        let put = self.put(key, value, ttl).await?;
        let guard = Compare::mod_revision(key, CompareOp::Equal, expected);
        match self.guarded(key, guard, put).await? {
            Outcome::Done(revision) => Ok(revision),
            Outcome::Refused(current) => Err(StorageError::Conflict { current }),
        }
    }

    /// Removes the key if it is still at `expected` and returns the revision of the removal.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] with the present value when the key has moved on or is gone.
    pub async fn delete(&self, key: &str, expected: i64) -> Result<i64, StorageError> {
        let guard = Compare::mod_revision(key, CompareOp::Equal, expected);
        match self.guarded(key, guard, TxnOp::delete(key, None)).await? {
            Outcome::Done(revision) => Ok(revision),
            Outcome::Refused(current) => Err(StorageError::Conflict { current }),
        }
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<TxnOp, StorageError> {
        let options = match ttl {
            Some(ttl) => Some(PutOptions::new().with_lease(self.lease_for(ttl).await?)),
            None => None,
        };
        Ok(TxnOp::put(key, value, options))
    }

    async fn guarded(&self, key: &str, guard: Compare, write: TxnOp) -> Result<Outcome, StorageError> {
        let txn = Txn::new().when([guard]).and_then([write]).or_else([TxnOp::get(key, None)]);
        let mut kv = self.inner.kv.clone();
        let response = self.within(kv.txn(txn)).await?.0;
        if response.succeeded {
            let header = response.header.ok_or(StorageError::Malformed("no header"))?;
            return Ok(Outcome::Done(header.revision));
        }
        let present = response.responses.into_iter().next().and_then(|op| op.response);
        let Some(PbTxnOpResponse::ResponseRange(range)) = present else {
            return Err(StorageError::Malformed("no range in the failure branch"));
        };
        let current = range.kvs.into_iter().next().map(read::from_wire).transpose()?;
        Ok(Outcome::Refused(current.map(Box::new)))
    }
}
