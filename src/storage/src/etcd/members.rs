//! The members of etcd as this client knows them, and which of them it talks to.
//!
//! One member gets everything as long as it answers: the watches of a server then see the same order of things as its
//! reads. When another one answers in its place, it takes over and the watches on the old one end, to be opened anew
//! where they stopped.

use etcd_client::{Client, ConnectOptions, KvClient, LeaseClient, WatchClient};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// One member behind one endpoint; connected when first used.
pub(super) struct Member {
    pub(super) client: Client,
    pub(super) kv: KvClient,
    pub(super) watch: WatchClient,
    pub(super) lease: LeaseClient,
    endpoint: String,
    trust: Mutex<CancellationToken>,
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
        })
    }

    /// Cancelled when this member has been given up for another one.
    pub(super) fn trust(&self) -> CancellationToken {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

    /// Puts `to`, which has answered, in the place of `from`, which has not.
    pub(super) fn replace(&self, from: usize, to: usize) {
        if from != to && self.current.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
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
