//! The members of etcd as this client knows them, and which of them it talks to.
//!
//! One member gets everything as long as it answers: the watches of a server then see the same order of things as its
//! reads. When it is silent or refuses and another one answers in its place, that one takes over and the watches on the
//! old one end, to be opened anew where they stopped. A member that is only slow is not left: all watches of a server at
//! a new member are the most work there is, and would make that one slow too.

use etcd_client::{Client, ConnectOptions, KvClient, LeaseClient, WatchClient};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a member that owes an answer may say nothing at all before another one takes over.
const SILENCE: Duration = Duration::from_secs(2);

/// One member behind one endpoint; connected when first used.
pub(super) struct Member {
    pub(super) client: Client,
    pub(super) kv: KvClient,
    pub(super) watch: WatchClient,
    pub(super) lease: LeaseClient,
    endpoint: String,
    trust: Mutex<CancellationToken>,
    /// When it last answered anything.
    heard: Mutex<Option<Instant>>,
}

impl Member {
    async fn new(endpoint: &str, options: &ConnectOptions) -> Result<Self, etcd_client::Error> {
        let client = Client::connect([endpoint], Some(options.clone())).await?;
        Ok(Self {
            kv: client.kv_client().max_decoding_message_size(usize::MAX),
            watch: client.watch_client().max_decoding_message_size(usize::MAX),
            lease: client.lease_client(),
            client,
            endpoint: endpoint.to_owned(),
            trust: Mutex::default(),
            heard: Mutex::default(),
        })
    }

    /// Cancelled when this member has been given up for another one.
    pub(super) fn trust(&self) -> CancellationToken {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of an answer.
    pub(super) fn answered(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether it has answered nobody since `began`, and that was long ago.
    fn is_silent_since(&self, began: Instant) -> bool {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        began.elapsed() >= SILENCE && heard.is_none_or(|heard| heard < began)
    }

    fn give_up(&self) {
        let mut trust = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *trust).cancel();
    }
}

/// All members this client was told of.
pub(super) struct Members {
    all: Vec<Member>,
    current: AtomicUsize,
    /// Whether the cluster has more than one member: only then is a second try elsewhere of any use.
    several: AtomicBool,
}

impl Members {
    pub(super) async fn new(endpoints: &[String], options: &ConnectOptions) -> Result<Self, etcd_client::Error> {
        let mut all = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            all.push(Member::new(endpoint, options).await?);
        }
        let current = AtomicUsize::new(first_choice(endpoints));
        Ok(Self { several: AtomicBool::new(all.len() > 1), all, current })
    }

    pub(super) fn all(&self) -> &[Member] {
        &self.all
    }

    /// The index of the member in use.
    pub(super) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    pub(super) fn has_several(&self) -> bool {
        self.several.load(Ordering::Relaxed)
    }

    /// Takes note of how many members the cluster says it has.
    pub(super) fn learn_count(&self, count: usize) {
        self.several.store(count > 1 || self.all.len() > 1, Ordering::Relaxed);
    }

    /// Puts `to`, which has answered, in the place of `from`, which has failed or has been silent since `began`.
    pub(super) fn replace(&self, (from, to): (usize, usize), failed: bool, began: Instant) {
        if from == to || !(failed || self.all[from].is_silent_since(began)) {
            return;
        }
        if self.current.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            tracing::info!(
                from = self.all[from].endpoint,
                to = self.all[to].endpoint,
                "another etcd member takes over"
            );
            self.all[from].give_up();
        }
    }
}

/// The member of this machine if there is one, else any: servers with the same list must not all choose the same.
fn first_choice(endpoints: &[String]) -> usize {
    let local = |url: &String| ["://127.", "://localhost", "://[::1]"].iter().any(|host| url.contains(host));
    let count = u64::try_from(endpoints.len().max(1)).unwrap_or(1);
    let any = usize::try_from(RandomState::new().hash_one(0) % count).unwrap_or(0);
    endpoints.iter().position(local).unwrap_or(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn two() -> Members {
        let endpoints = ["http://127.0.0.1:1".to_owned(), "http://10.0.0.1:1".to_owned()];
        Members::new(&endpoints, &ConnectOptions::new()).await.unwrap()
    }

    #[tokio::test]
    async fn a_member_that_fails_or_is_silent_is_left_and_one_that_is_slow_is_not() {
        let members = two().await;
        let long_ago = Instant::now().checked_sub(SILENCE * 2).unwrap();
        let trust = members.all()[0].trust();
        members.all()[0].answered();
        members.replace((0, 1), false, long_ago);
        assert_eq!(members.current(), 0, "others have heard of it meanwhile");
        members.replace((0, 1), false, Instant::now());
        assert_eq!(members.current(), 0, "it has had no time yet");
        assert!(!trust.is_cancelled());
        members.replace((0, 1), true, Instant::now());
        assert_eq!(members.current(), 1);
        assert!(trust.is_cancelled(), "its watches end");
        members.replace((1, 0), false, long_ago);
        assert_eq!(members.current(), 0, "nobody has heard of it");
    }
}
