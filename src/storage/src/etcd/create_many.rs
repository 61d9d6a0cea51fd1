//! Many new keys at the price of a few commits.

use super::failover::{Answer, LARGE};
use super::{Etcd, read};
use crate::{KeyValue, StorageError};
use bytes::Bytes;
use etcd_client::proto::PbTxnOpResponse;
use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnResponse};
use std::collections::VecDeque;

/// How many keys etcd takes in one transaction unless it was told otherwise (`--max-txn-ops`).
const MOST_KEYS: usize = 128;
/// How many bytes travel in one request; etcd takes 1.5 MiB unless it was told otherwise (`--max-request-bytes`).
const MOST_BYTES: usize = 1 << 20;
/// How often a key travels: in the guard, with the value, and in the question for what is there already.
const TIMES_A_KEY: usize = 3;
/// What the wire adds to an entry, generously.
const WRAPPING: usize = 64;

/// What became of one key of [`Etcd::create_many`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It is stored since this revision.
    Done(i64),
    /// It was there already, with this value.
    Taken(Box<KeyValue>),
}

impl Creation {
    /// The revision the key is at.
    pub fn revision(&self) -> i64 {
        match self {
            Self::Done(revision) => *revision,
            Self::Taken(kv) => kv.mod_revision,
        }
    }
}

impl Etcd {
    /// Stores many new keys with few commits and tells of each, in order, what became of it.
    ///
    /// A transaction stores all of its keys or, if one is taken, none; those that are free then go into the next one. So
    /// all free keys are stored in the end, but not at once. No two values of all times may be the same, as objects
    /// with a uid never are: by its value a write whose answer was lost is known again.
    ///
    /// Keys of one transaction have one revision. A client whose watch breaks between two of them cannot ask for the
    /// second one, which is why this is for what is written before anybody follows it.
    ///
    /// # Errors
    /// What etcd says, [`StorageError::TooLarge`] for a value that fits into no request. What was stored until then
    /// stays: calling again tells of it as taken.
    pub async fn create_many(&self, entries: &[(String, Bytes)]) -> Result<Vec<Creation>, StorageError> {
        let mut outcomes: Vec<Option<Creation>> = vec![None; entries.len()];
        let mut waiting: VecDeque<usize> = (0..entries.len()).collect();
        while !waiting.is_empty() {
            let sizes = waiting.iter().map(|&at| size(&entries[at]));
            let batch: Vec<usize> = waiting.drain(..fitting(sizes)).collect();
            let Answer { value, repeated } = self.transact(LARGE, &transaction(&batch, entries)).await?;
            let told = outcome(value, batch.len())?;
            for (at, creation) in batch.into_iter().zip(told).rev() {
                outcomes[at] = match creation {
                    // Nobody else can have written this one: an earlier try of ours has.
                    Some(Creation::Taken(kv)) if repeated && kv.value == entries[at].1 => {
                        Some(Creation::Done(kv.mod_revision))
                    }
                    Some(known) => Some(known),
                    // Free, but in company of one that is taken, which does not come again.
                    None => {
                        waiting.push_front(at);
                        None
                    }
                };
            }
        }
        outcomes.into_iter().map(|known| known.ok_or(StorageError::Malformed("a key without an answer"))).collect()
    }
}

fn size((key, value): &(String, Bytes)) -> usize {
    TIMES_A_KEY * key.len() + value.len() + WRAPPING
}

/// How many of the first entries go into one request: at least one, which is told apart by etcd if it is too large.
fn fitting(sizes: impl Iterator<Item = usize>) -> usize {
    let mut total = 0;
    let within = sizes.take(MOST_KEYS).take_while(|size| {
        total += size;
        total <= MOST_BYTES
    });
    within.count().max(1)
}

fn transaction(batch: &[usize], entries: &[(String, Bytes)]) -> Txn {
    let entries = || batch.iter().map(|&at| &entries[at]);
    let free = entries().map(|(key, _)| Compare::mod_revision(key.as_str(), CompareOp::Equal, 0));
    let write = entries().map(|(key, value)| TxnOp::put(key.as_str(), value.clone(), None));
    let look = entries().map(|(key, _)| TxnOp::get(key.as_str(), None));
    Txn::new().when(free.collect::<Vec<_>>()).and_then(write.collect::<Vec<_>>()).or_else(look.collect::<Vec<_>>())
}

/// What a transaction says of each of its keys; `None` if it is free.
fn outcome(response: TxnResponse, keys: usize) -> Result<Vec<Option<Creation>>, StorageError> {
    let response = response.0;
    if response.succeeded {
        let revision = response.header.ok_or(StorageError::Malformed("no header"))?.revision;
        return Ok(vec![Some(Creation::Done(revision)); keys]);
    }
    let mut told = Vec::with_capacity(keys);
    for part in response.responses {
        let Some(PbTxnOpResponse::ResponseRange(range)) = part.response else {
            return Err(StorageError::Malformed("no range in the failure branch"));
        };
        let present = range.kvs.into_iter().next().map(read::from_wire).transpose()?;
        told.push(present.map(|kv| Creation::Taken(Box::new(kv))));
    }
    // Without one that is taken the same would be asked for ever.
    if told.len() != keys || told.iter().all(Option::is_none) {
        return Err(StorageError::Malformed("a refusal without a reason"));
    }
    Ok(told)
}

#[cfg(test)]
mod tests;
