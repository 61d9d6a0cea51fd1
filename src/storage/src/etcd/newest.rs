//! Where single keys stand right now, by linearizable reads that callers share.

use super::members::Member;
use super::{Etcd, failover};
use crate::StorageError;
use etcd_client::proto::PbTxnOpResponse;
use etcd_client::{GetOptions, Txn, TxnOp};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// How many keys travel in one request; etcd takes 128.
const TOGETHER: usize = 64;

/// Where a key stood at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The revision of its last write; `None` if there is no such key.
    pub(crate) written: Option<i64>,
    /// The revision of the store at that moment.
    pub(crate) revision: i64,
}

/// Keys whose place is asked for.
#[derive(Default)]
pub(super) struct Asked {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Whether a task is at work on what waits.
    busy: bool,
}

struct Waiting {
    key: String,
    answer: oneshot::Sender<Place>,
}

impl Asked {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Etcd {
    /// Where a key stands now, without its value.
    ///
    /// Keys asked for while a read is under way travel together in the next one: each is read after it was asked for,
    /// and a thousand callers at once cost a few requests.
    pub(crate) async fn place(&self, key: &str) -> Result<Place, StorageError> {
        let (answer, place) = oneshot::channel();
        let first = {
            let mut queue = self.inner.asked.queue();
            queue.waiting.push(Waiting { key: key.to_owned(), answer });
            !std::mem::replace(&mut queue.busy, true)
        };
        if first {
            let _begin = Begin(self);
            // Whoever is ready to ask does so before: a connection brings many requests at once.
            tokio::task::yield_now().await;
        }
        match place.await {
            Ok(place) => Ok(place),
            // The shared read failed; everybody hears of their own failure.
            Err(_) => self.place_of(key).await,
        }
    }

    async fn answer_all(self) {
        loop {
            let batch = {
                let mut queue = self.inner.asked.queue();
                let many = queue.waiting.len().min(TOGETHER);
                queue.busy = many > 0;
                queue.waiting.drain(..many).collect::<Vec<_>>()
            };
            match batch.as_slice() {
                [] => return,
                [only] => {
                    let place = self.place_of(&only.key).await;
                    deliver(batch, place.map(|place| vec![place]));
                }
                _ => {
                    let places = self.places_of(&batch).await;
                    deliver(batch, places);
                }
            }
            // Whoever has its answer now and asks for more does so first: with nobody ready this costs nothing.
            tokio::task::yield_now().await;
        }
    }

    async fn place_of(&self, key: &str) -> Result<Place, StorageError> {
        let options = GetOptions::new().with_keys_only();
        let response = self.range(failover::SMALL, key, &options).await?;
        let revision = response.header.ok_or(StorageError::Malformed("no header"))?.revision;
        Ok(Place { written: response.kvs.first().map(|kv| kv.mod_revision), revision })
    }

    async fn places_of(&self, batch: &[Waiting]) -> Result<Vec<Place>, StorageError> {
        let options = GetOptions::new().with_keys_only();
        let reads: Vec<TxnOp> = batch.iter().map(|ask| TxnOp::get(ask.key.as_str(), Some(options.clone()))).collect();
        let txn = Txn::new().and_then(reads);
        let read = |member: &Member| {
            let (mut kv, txn) = (member.kv.clone(), txn.clone());
            async move { kv.txn(txn).await }
        };
        let response = self.ask(failover::SMALL, read).await?.0;
        let revision = response.header.ok_or(StorageError::Malformed("no header"))?.revision;
        let place = |response: Option<PbTxnOpResponse>| match response {
            Some(PbTxnOpResponse::ResponseRange(range)) => {
                Ok(Place { written: range.kvs.first().map(|kv| kv.mod_revision), revision })
            }
            _ => Err(StorageError::Malformed("no range where one was asked for")),
        };
        response.responses.into_iter().map(|part| place(part.response)).collect()
    }
}

/// Begins to answer when it is dropped, which is also when the caller that was the first one gives up.
struct Begin<'a>(&'a Etcd);

impl Drop for Begin<'_> {
    fn drop(&mut self) {
        // A task of its own: others wait for the same read.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(self.0.clone().answer_all())),
            // Nobody is left who could wait.
            Err(_) => self.0.inner.asked.queue().busy = false,
        }
    }
}

/// Gives each caller its place; when the read failed or is short, callers hear that their channel is closed.
fn deliver(batch: Vec<Waiting>, places: Result<Vec<Place>, StorageError>) {
    let places = places.inspect_err(|error| tracing::debug!(%error, "a shared read failed"));
    for (waiting, place) in batch.into_iter().zip(places.unwrap_or_default()) {
        // A caller that gave up needs no answer.
        let _ = waiting.answer.send(place);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{EtcdServer, fresh_prefix};

    #[tokio::test]
    async fn keys_asked_for_together_are_each_seen_after_their_write() {
        let server = EtcdServer::start().await;
        let etcd = server.connect().await;
        let prefix = fresh_prefix();
        let tasks: Vec<_> = (0..200)
            .map(|n| {
                let (etcd, key) = (etcd.clone(), format!("{prefix}{n}"));
                tokio::spawn(async move {
                    assert_eq!(etcd.place(&key).await.unwrap().written, None);
                    let written = etcd.create(&key, "x".into(), None).await.unwrap();
                    let place = etcd.place(&key).await.unwrap();
                    assert_eq!(place.written, Some(written));
                    assert!(place.revision >= written);
                    etcd.delete(&key, written).await.unwrap();
                    assert_eq!(etcd.place(&key).await.unwrap().written, None);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_holds_up_nobody() {
        let server = EtcdServer::start().await;
        let etcd = server.connect().await;
        for _ in 0..20 {
            let asking = etcd.clone();
            let gone = tokio::spawn(async move { asking.place("/a").await });
            tokio::task::yield_now().await;
            gone.abort();
            assert_eq!(etcd.place("/b").await.unwrap().written, None);
        }
    }
}
