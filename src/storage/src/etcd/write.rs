//! Writes: each one a transaction with a guard that answers with the current value when it fails.

use super::failover::Answer;
use super::members::Member;
use super::{Etcd, failover, read};
use crate::{KeyValue, StorageError};
use bytes::Bytes;
use etcd_client::proto::PbTxnOpResponse;
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, TxnResponse};
use std::time::Duration;

/// What a transaction did.
enum Outcome {
    Done(i64),
    Refused(Refused),
}

struct Refused {
    current: Option<Box<KeyValue>>,
    /// An earlier try of the same transaction may be what the guard ran into.
    doubtful: bool,
}

impl Refused {
    /// A refusal that may be an effect of our own is no answer: nobody knows whether the write happened.
    fn clear(self) -> Result<Option<Box<KeyValue>>, StorageError> {
        if self.doubtful { Err(StorageError::Timeout) } else { Ok(self.current) }
    }
}

impl Etcd {
    /// Stores a new key and returns its revision; with `ttl` it vanishes after at least that time.
    ///
    /// # Errors
    /// [`StorageError::Exists`] with the present value when the key is taken.
    pub async fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<i64, StorageError> {
        let put = self.put(key, value.clone(), ttl).await?;
        let guard = Compare::mod_revision(key, CompareOp::Equal, 0);
        let refused = match self.guarded(key, guard, put).await? {
            Outcome::Done(revision) => return Ok(revision),
            Outcome::Refused(refused) => refused,
        };
        match &refused.current {
            // Created values carry a uid: nobody else can have written this one.
            Some(kv) if refused.doubtful && kv.value == value => Ok(kv.mod_revision),
            _ => Err(StorageError::Exists { current: refused.clear()? }),
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
            Outcome::Refused(refused) => Err(StorageError::Conflict { current: refused.clear()? }),
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
            Outcome::Refused(refused) => Err(StorageError::Conflict { current: refused.clear()? }),
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
        let Answer { value, repeated } = self.transact(failover::SMALL, &txn).await?;
        let response = value.0;
        if response.succeeded {
            let header = response.header.ok_or(StorageError::Malformed("no header"))?;
            return Ok(Outcome::Done(header.revision));
        }
        let present = response.responses.into_iter().next().and_then(|op| op.response);
        let Some(PbTxnOpResponse::ResponseRange(range)) = present else {
            return Err(StorageError::Malformed("no range in the failure branch"));
        };
        let current = range.kvs.into_iter().next().map(read::from_wire).transpose()?;
        Ok(Outcome::Refused(Refused { current: current.map(Box::new), doubtful: repeated }))
    }

    pub(super) async fn transact(&self, patience: Duration, txn: &Txn) -> Result<Answer<TxnResponse>, StorageError> {
        let transact = |member: &Member| {
            let (mut kv, txn) = (member.kv.clone(), txn.clone());
            async move { kv.txn(txn).await }
        };
        self.call(patience, transact).await
    }
}
