//! One of several processes acts: leader election on a `coordination.k8s.io` Lease.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::runtime::watcher::{self, watch_object};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Retry;

/// The times of an election, named as upstream's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// After this long without a renewal others may take over.
    pub lease_duration: Duration,
    /// A leader that could not renew for this long stops.
    pub renew_deadline: Duration,
    /// Between two renewals, and the longest rest of a candidate that cannot watch the lease.
    pub retry_period: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Why a leader stopped.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LeaderError {
    /// The lease could not be renewed in time, or somebody else holds it.
    #[error("lost the lease {name}")]
    Lost {
        /// The lease.
        name: String,
    },
}

/// A candidate for a lease.
#[derive(Clone)]
pub struct LeaderElector {
    leases: Api<Lease>,
    name: String,
    identity: String,
    times: LeaseTimes,
}

/// The lease as last seen, and when that was by our own clock (clocks of other machines are not trusted).
#[derive(Default)]
struct Observed {
    lease: Option<Lease>,
    at: Option<Instant>,
}

impl LeaderElector {
    /// A candidate with a name nobody else has.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            times: LeaseTimes::default(),
        }
    }

    /// With other times.
    #[must_use]
    pub fn times(mut self, times: LeaseTimes) -> Self {
        self.times = times;
        self
    }

    /// Waits to become leader, then runs `lead` until it ends, the token is cancelled or the lease is lost.
    ///
    /// `lead` is given a token that is cancelled in the last two cases; it has to end then.
    ///
    /// # Guarantees
    /// The lease is released only after `lead` has ended.
    pub async fn run<F, Fut>(&self, token: CancellationToken, lead: F) -> Result<(), LeaderError>
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = ()>,
    {
        let mut observed = Observed::default();
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = self.acquire(&mut observed) => {}
        }
        tracing::info!(lease = self.name, identity = self.identity, "leading");
        let working = token.child_token();
        // A whole program may hang on this future: not on the stack.
        let mut work = Box::pin(lead(working.clone()));
        // While the work winds down after a stop the lease is still renewed.
        let winding_down = async {
            token.cancelled().await;
            working.cancel();
            std::future::pending::<()>().await;
        };
        let lost = tokio::select! {
            () = &mut work => false,
            () = winding_down => false,
            () = self.renew(&mut observed) => true,
        };
        working.cancel();
        if lost {
            // Nothing may act without the lease: the work is dropped, not awaited.
            tracing::error!(lease = self.name, "lost the lease");
            return Err(LeaderError::Lost { name: self.name.clone() });
        }
        self.release(&mut observed).await;
        Ok(())
    }

    /// Returns when the lease is held.
    ///
    /// Upstream's candidates look every retry period. Here the lease is watched, so that its release or removal is
    /// followed at once; if somebody holds it, the next try is due exactly when it ends.
    async fn acquire(&self, observed: &mut Observed) {
        let mut changes = self.watch();
        let mut retry = Retry::new(self.times.retry_period);
        let mut look = true;
        loop {
            let patience = match self.waits(observed).filter(|_| !look) {
                None if self.try_lease(observed).await => return,
                // At the start of a cluster everybody waits for the first leader.
                None => self.waits(observed).inspect(|_| retry.there()).unwrap_or_else(|| retry.rest()),
                Some(left) => left,
            };
            let mut nap = pin!(tokio::time::sleep(patience));
            look = false;
            loop {
                tokio::select! {
                    () = &mut nap => break,
                    change = changes.recv(), if !look => {
                        if let Some(Ok(lease)) = change {
                            retry.answered();
                            observed.hear(lease);
                            break;
                        }
                        // Whoever cannot watch looks from time to time.
                        look = true;
                        let deadline = nap.deadline().min(Instant::now() + retry.rest());
                        nap.as_mut().reset(deadline);
                    }
                }
            }
        }
    }

    /// What happens to the lease. A task of its own asks, so that its request goes on while we try to write.
    fn watch(&self) -> mpsc::Receiver<Result<Option<Lease>, watcher::Error>> {
        let (sender, receiver) = mpsc::channel(1);
        let changes = watch_object(self.leases.clone(), &self.name);
        tokio::spawn(async move {
            let mut changes = pin!(changes);
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    change = changes.next() => match change {
                        Some(change) => if sender.send(change).await.is_err() { return },
                        None => return,
                    }
                }
            }
        });
        receiver
    }

    /// How long the lease still belongs to somebody else, if it does.
    fn waits(&self, observed: &Observed) -> Option<Duration> {
        let lease = observed.lease.as_ref().filter(|lease| !self.holds(lease))?;
        self.left(lease, observed.at).filter(|left| !left.is_zero())
    }

    /// Returns when the lease is lost.
    async fn renew(&self, observed: &mut Observed) {
        let mut renewed = Instant::now();
        let mut wait = self.times.retry_period;
        loop {
            tokio::time::sleep(wait).await;
            // Others count from when the lease was written, which is later than this.
            let begin = Instant::now();
            let left = self.times.renew_deadline.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, self.try_lease(observed)).await {
                Ok(true) => (renewed, wait) = (begin, self.times.retry_period),
                // What failed may have cost half of the time there is: soon again, another server may answer.
                Ok(false) if renewed.elapsed() < self.times.renew_deadline => wait = self.times.retry_period / 4,
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// One try to get or keep the lease; a server that does not answer leaves time for a second try.
    async fn try_lease(&self, observed: &mut Observed) -> bool {
        match tokio::time::timeout(self.times.renew_deadline / 2, self.try_lease_once(observed)).await {
            Ok(Ok(held)) => return held,
            Ok(Err(error)) => tracing::debug!(lease = self.name, %error, "the lease cannot be written"),
            Err(_) => tracing::debug!(lease = self.name, "no answer about the lease"),
        }
        // What was ours is not current any more, or the next try would conflict again.
        observed.lease.take_if(|lease| self.holds(lease));
        false
    }

    async fn try_lease_once(&self, observed: &mut Observed) -> Result<bool, kube::Error> {
        let now = MicroTime(Timestamp::now());
        let ours = observed.lease.as_ref().is_some_and(|lease| self.holds(lease));
        if !ours {
            match self.leases.get_opt(&self.name).await? {
                None => {
                    let lease = self.leases.create(&PostParams::default(), &self.first_lease(now)).await?;
                    observed.see(lease);
                    return Ok(true);
                }
                Some(lease) => observed.see(lease),
            }
        }
        let Some(current) = observed.lease.clone() else {
            return Ok(false);
        };
        if !self.holds(&current) && !self.expired(&current, observed.at) {
            return Ok(false);
        }
        let written = self.leases.replace(&self.name, &PostParams::default(), &self.taken(current, now)).await?;
        observed.see(written);
        Ok(true)
    }

    fn holds(&self, lease: &Lease) -> bool {
        holder(lease) == self.identity
    }

    fn expired(&self, lease: &Lease, seen: Option<Instant>) -> bool {
        self.left(lease, seen).is_some_and(|left| left.is_zero())
    }

    /// What is left of a lease by our own clock; `None` if it was never seen before.
    fn left(&self, lease: &Lease, seen: Option<Instant>) -> Option<Duration> {
        if holder(lease).is_empty() {
            return Some(Duration::ZERO);
        }
        let seconds = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.lease_duration_seconds)
            .and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(self.times.lease_duration, Duration::from_secs);
        seen.map(|seen| duration.saturating_sub(seen.elapsed()))
    }

    fn first_lease(&self, now: MicroTime) -> Lease {
        let meta = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        self.taken(Lease { metadata: meta, ..Lease::default() }, now)
    }

    fn taken(&self, mut lease: Lease, now: MicroTime) -> Lease {
        let new = lease.spec.is_none();
        let kept = self.holds(&lease);
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if !kept {
            let changes = spec.lease_transitions.map_or(0, |count| count + 1);
            spec.lease_transitions = Some(if new { 0 } else { changes });
            spec.acquire_time = Some(now.clone());
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.times.lease_duration.as_secs()).ok();
        spec.renew_time = Some(now);
        lease
    }

    async fn release(&self, observed: &mut Observed) {
        let Some(mut lease) = observed.lease.take().filter(|lease| self.holds(lease)) else {
            return;
        };
        let now = MicroTime(Timestamp::now());
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.acquire_time = Some(now.clone());
            spec.renew_time = Some(now);
        }
        let written = tokio::time::timeout(
            self.times.renew_deadline,
            self.leases.replace(&self.name, &PostParams::default(), &lease),
        )
        .await;
        match written {
            Ok(Ok(_)) => tracing::info!(lease = self.name, "released the lease"),
            Ok(Err(error)) => {
                tracing::warn!(lease = self.name, %error, "the lease was not released");
            }
            Err(_) => tracing::warn!(lease = self.name, "the lease was not released in time"),
        }
    }
}

impl Observed {
    /// Takes over what a watch told.
    fn hear(&mut self, lease: Option<Lease>) {
        match lease {
            Some(lease) => self.see(lease),
            None => *self = Self::default(),
        }
    }

    fn see(&mut self, lease: Lease) {
        let same =
            self.lease.as_ref().is_some_and(|known| known.metadata.resource_version == lease.metadata.resource_version);
        if !same || self.at.is_none() {
            self.at = Some(Instant::now());
        }
        self.lease = Some(lease);
    }
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
