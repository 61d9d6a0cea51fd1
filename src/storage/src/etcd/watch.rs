//! One watch on a key range, as batches that end at a revision boundary.

use super::members::Member;
use super::{Etcd, failover, read};
use crate::{KeyValue, StorageError};
use etcd_client::{WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream};
use tokio_util::sync::CancellationToken;

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// The key was written.
    Put(KeyValue),
    /// The key was removed, by a client or by the end of its lease.
    Delete {
        /// The removed key.
        key: String,
        /// The revision of the removal.
        revision: i64,
    },
}

/// Changes that arrived together, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchBatch {
    /// The changes; empty for a progress report.
    pub events: Vec<WatchEvent>,
    /// Everything up to this revision has now been delivered.
    pub revision: i64,
}

/// An open watch; dropping it ends it.
pub struct EtcdWatch {
    requests: WatchRequestSender,
    responses: WatchResponseStream,
    /// The newest revision of the store when the watch was opened.
    opened_at: i64,
    parts: Vec<WatchEvent>,
    /// Cancelled when another member has taken over from the one that serves this watch.
    trust: CancellationToken,
}

impl Etcd {
    /// Watches all keys that start with `prefix`, from `from` on (inclusive).
    ///
    /// # Errors
    /// [`StorageError::Compacted`] when history before `from` is gone; it may also come later, from
    /// [`EtcdWatch::next`].
    pub async fn watch(&self, prefix: &str, from: i64) -> Result<EtcdWatch, StorageError> {
        let options = WatchOptions::new()
            .with_range(read::range_end(prefix))
            .with_start_revision(from)
            .with_progress_notify()
            .with_fragment();
        let open = |member: &Member| {
            let (mut client, options, trust) = (member.watch.clone(), options.clone(), member.trust());
            async move {
                let (requests, mut responses) = client.watch(prefix, Some(options)).await?.split();
                let first = responses.message().await?;
                Ok((requests, responses, first, trust))
            }
        };
        let (requests, responses, first, trust) = self.ask(failover::SMALL, open).await?;
        let mut watch = EtcdWatch { requests, responses, opened_at: 0, parts: Vec::new(), trust };
        watch.opened_at = watch.take_in(first)?.0;
        Ok(watch)
    }
}

impl EtcdWatch {
    /// The newest revision of the member that serves the watch, when it was opened.
    pub fn opened_at(&self) -> i64 {
        self.opened_at
    }

    /// The next batch. Cancelling the future loses nothing.
    ///
    /// # Errors
    /// [`StorageError::Compacted`] when the watch fell behind a compaction; anything else means it broke and can
    /// be opened again after the last revision delivered.
    pub async fn next(&mut self) -> Result<WatchBatch, StorageError> {
        loop {
            let (revision, complete) = self.message().await?;
            if complete {
                let events = std::mem::take(&mut self.parts);
                let newest = events.last().map(WatchEvent::revision);
                return Ok(WatchBatch { events, revision: newest.unwrap_or(revision) });
            }
        }
    }

    /// Asks etcd to report how far this watch has come; the answer is an empty batch.
    pub async fn request_progress(&mut self) -> Result<(), StorageError> {
        Ok(self.requests.request_progress().await?)
    }

    /// Takes in one message; returns its revision and whether a batch is complete.
    async fn message(&mut self) -> Result<(i64, bool), StorageError> {
        let message = tokio::select! {
            message = self.responses.message() => message?,
            () = self.trust.cancelled() => {
                return Err(StorageError::WatchEnded { reason: "another member takes over".to_owned() });
            }
        };
        self.take_in(message)
    }

    fn take_in(&mut self, message: Option<WatchResponse>) -> Result<(i64, bool), StorageError> {
        let ended = |reason: &str| StorageError::WatchEnded { reason: reason.to_owned() };
        let response = message.ok_or_else(|| ended("stream closed"))?.0;
        if response.compact_revision > 0 {
            return Err(StorageError::Compacted { oldest: response.compact_revision });
        }
        if response.canceled {
            return Err(ended(&response.cancel_reason));
        }
        for event in response.events {
            let kv = event.kv.ok_or(StorageError::Malformed("event without a key"))?;
            let kv = read::from_wire(kv)?;
            self.parts.push(match event.r#type {
                0 => WatchEvent::Put(kv),
                _ => WatchEvent::Delete { key: kv.key, revision: kv.mod_revision },
            });
        }
        let revision = response.header.map(|header| header.revision);
        Ok((revision.ok_or(StorageError::Malformed("no header"))?, !response.fragment))
    }
}

impl WatchEvent {
    /// The revision of the change.
    pub fn revision(&self) -> i64 {
        match self {
            Self::Put(kv) => kv.mod_revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}
