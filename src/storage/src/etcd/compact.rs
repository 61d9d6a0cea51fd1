//! Compaction: history older than one interval is dropped, by one API server of many.

use super::members::Member;
use super::{Etcd, failover, read};
use crate::StorageError;
use etcd_client::proto::PbTxnOpResponse;
use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The key that several API servers agree on: its version counts compactions, its value is the revision.
pub const COMPACT_REVISION_KEY: &str = "compact_rev_key";

/// What one API server remembers between two rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Round {
    /// The version of the key at the last look.
    version: i64,
    /// The revision of the store at the last look: one interval old when the next round comes.
    revision: i64,
}

impl Etcd {
    /// Compacts every `interval` until the token is cancelled. Safe to run in every API server.
    pub async fn compact_every(&self, interval: Duration, token: CancellationToken) {
        let mut round = Round::default();
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            match self.compact_round(round).await {
                Ok(next) => round = next,
                Err(error) => tracing::warn!(%error, "compaction failed"),
            }
        }
    }

    /// Drops all history before `revision`.
    pub async fn compact(&self, revision: i64) -> Result<(), StorageError> {
        let compact = |member: &Member| {
            let mut kv = member.kv.clone();
            async move { kv.compact(revision, None).await }
        };
        match self.ask(failover::LARGE, compact).await {
            // Somebody else was faster.
            Ok(_) | Err(StorageError::Compacted { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whoever moves the key from the version all have seen does the compaction; the others only look.
    async fn compact_round(&self, last: Round) -> Result<Round, StorageError> {
        let key = COMPACT_REVISION_KEY;
        let txn = Txn::new()
            .when([Compare::version(key, CompareOp::Equal, last.version)])
            .and_then([TxnOp::put(key, last.revision.to_string(), None)])
            .or_else([TxnOp::get(key, None)]);
        let response = self.transact(failover::SMALL, &txn).await?.value.0;
        let revision = response.header.map(|header| header.revision).ok_or(StorageError::Malformed("no header"))?;
        if response.succeeded {
            if last.revision > 0 {
                self.compact(last.revision).await?;
                tracing::debug!(revision = last.revision, "compacted");
            }
            return Ok(Round { version: last.version + 1, revision });
        }
        let range = response.responses.into_iter().next().and_then(|op| op.response);
        let version = match range {
            Some(PbTxnOpResponse::ResponseRange(range)) => range.kvs.first().map_or(0, |kv| kv.version),
            _ => return Err(StorageError::Malformed("no range in the failure branch")),
        };
        Ok(Round { version, revision })
    }

    /// The revision of the last compaction that any API server recorded.
    pub async fn compacted_revision(&self) -> Result<i64, StorageError> {
        let (kv, _) = self.get(COMPACT_REVISION_KEY).await?;
        let text = kv.map(|kv: read::KeyValue| String::from_utf8_lossy(&kv.value).into_owned());
        Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
    }
}
