//! Reads: one key, or a list in pages pinned to one revision.

use super::members::Member;
use super::{Etcd, failover};
use crate::StorageError;
use bytes::Bytes;
use etcd_client::GetOptions;
use etcd_client::proto::PbRangeResponse;
use std::time::Duration;

/// How many values one request of [`Etcd::list_all`] asks for.
const PAGE: i64 = 1000;

/// A stored value with its place in history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The full key.
    pub key: String,
    /// The stored bytes.
    pub value: Bytes,
    /// The revision of the last write.
    pub mod_revision: i64,
    /// The revision of the write that created the key.
    pub create_revision: i64,
}

/// What part of a list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// At most this many values; 0 means all.
    pub limit: usize,
    /// The revision to read at; 0 means the newest.
    pub revision: i64,
    /// Go on after this key, the last one of the page before.
    pub continue_after: Option<String>,
}

/// One page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The values in key order.
    pub items: Vec<KeyValue>,
    /// The revision the page shows; ask for the next page at this revision.
    pub revision: i64,
    /// Whether values follow after this page.
    pub more: bool,
    /// How many values follow after this page.
    pub remaining: i64,
}

impl Etcd {
    /// The value of one key with the newest revision, by a linearizable read.
    pub async fn get(&self, key: &str) -> Result<(Option<KeyValue>, i64), StorageError> {
        self.get_at(key, 0).await
    }

    /// The value of one key as of `revision` (0: newest), and the revision it was read at.
    pub async fn get_at(&self, key: &str, revision: i64) -> Result<(Option<KeyValue>, i64), StorageError> {
        let options = GetOptions::new().with_revision(revision);
        let response = self.range(failover::SMALL, key, &options).await?;
        let seen = response.header.map(|header| header.revision).ok_or(StorageError::Malformed("no header"))?;
        let value = response.kvs.into_iter().next().map(from_wire).transpose()?;
        Ok((value, if revision > 0 { revision } else { seen }))
    }

    /// One page of the values whose keys start with `prefix`.
    pub async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page, StorageError> {
        let start = match &options.continue_after {
            Some(last) => [last.as_bytes(), b"\0"].concat(),
            None => prefix.as_bytes().to_vec(),
        };
        let request = GetOptions::new()
            .with_range(range_end(prefix))
            .with_limit(i64::try_from(options.limit).unwrap_or(i64::MAX))
            .with_revision(options.revision);
        let response = self.range(failover::LARGE, start, &request).await?;
        let seen = response.header.map(|header| header.revision).ok_or(StorageError::Malformed("no header"))?;
        let items = response.kvs.into_iter().map(from_wire).collect::<Result<Vec<_>, _>>()?;
        let taken = i64::try_from(items.len()).unwrap_or(i64::MAX);
        Ok(Page {
            items,
            revision: if options.revision > 0 { options.revision } else { seen },
            more: response.more,
            remaining: (response.count - taken).max(0),
        })
    }

    /// All values under `prefix` at one revision (0: newest), page after page into `take`; returns the revision.
    pub async fn list_all(
        &self,
        prefix: &str,
        revision: i64,
        mut take: impl FnMut(KeyValue),
    ) -> Result<i64, StorageError> {
        let limit = usize::try_from(PAGE).unwrap_or(usize::MAX);
        let mut options = ListOptions { limit, revision, continue_after: None };
        loop {
            let page = self.list(prefix, options.clone()).await?;
            options.revision = page.revision;
            options.continue_after = page.items.last().map(|item| item.key.clone());
            page.items.into_iter().for_each(&mut take);
            if !page.more {
                return Ok(page.revision);
            }
        }
    }

    pub(super) async fn range(
        &self,
        patience: Duration,
        key: impl Into<Vec<u8>>,
        options: &GetOptions,
    ) -> Result<PbRangeResponse, StorageError> {
        let key = key.into();
        let read = |member: &Member| {
            let (mut kv, key, options) = (member.kv.clone(), key.clone(), options.clone());
            async move { kv.get(key, Some(options)).await }
        };
        Ok(self.ask(patience, read).await?.0)
    }

    /// What happened under `prefix` after `revision`, told without values: see [`Changes`].
    pub(crate) async fn changes_since(&self, prefix: &str, revision: i64) -> Result<Changes, StorageError> {
        let request =
            GetOptions::new().with_range(range_end(prefix)).with_keys_only().with_min_mod_revision(revision + 1);
        let response = self.range(failover::LARGE, prefix, &request).await?;
        let seen = response.header.map(|header| header.revision).ok_or(StorageError::Malformed("no header"))?;
        Ok(Changes {
            revision: seen,
            newest: response.kvs.iter().map(|kv| kv.mod_revision).max(),
            count: usize::try_from(response.count).unwrap_or(0),
        })
    }
}

/// A quorum's view of a key range, small enough to compare with a cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes {
    /// The revision of this view.
    pub(crate) revision: i64,
    /// The newest write among the keys written after the revision asked about.
    pub(crate) newest: Option<i64>,
    /// How many keys exist in the range.
    pub(crate) count: usize,
}

/// The first key after all keys that start with `prefix`.
pub(crate) fn range_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// Keys are paths; one that is not UTF-8 was not written by an API server.
pub(crate) fn from_wire(kv: etcd_client::proto::PbKeyValue) -> Result<KeyValue, StorageError> {
    let key = String::from_utf8(kv.key).map_err(|_| StorageError::Malformed("key is not UTF-8"))?;
    Ok(KeyValue {
        key,
        value: Bytes::from(kv.value),
        mod_revision: kv.mod_revision,
        create_revision: kv.create_revision,
    })
}
