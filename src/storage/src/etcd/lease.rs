//! Leases for values that expire, shared: thousands of Events must not mean thousands of leases.

use super::members::Member;
use super::{Etcd, failover};
use crate::StorageError;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// One lease takes this many values at most, so that its expiry is a bearable burst of deletes.
const VALUES_PER_LEASE: u32 = 1000;
/// One lease is handed out for this long at most.
const LONGEST_SHARING: Duration = Duration::from_mins(1);

/// The leases being handed out, by the time to live they promise.
#[derive(Default)]
pub(super) struct Leases {
    open: tokio::sync::Mutex<HashMap<u64, Bucket>>,
}

struct Bucket {
    lease: i64,
    until: Instant,
    free: u32,
}

impl Etcd {
    /// A lease that lives at least `ttl` from now.
    pub(super) async fn lease_for(&self, ttl: Duration) -> Result<i64, StorageError> {
        let seconds = ttl.as_secs().max(1);
        let mut open = self.inner.leases.open.lock().await;
        if let Some(bucket) = open.get_mut(&seconds)
            && bucket.free > 0
            && Instant::now() < bucket.until
        {
            bucket.free -= 1;
            return Ok(bucket.lease);
        }
        let sharing = sharing_time(seconds);
        let granted = seconds + sharing.as_secs();
        // Measured before the request: the lease cannot have started earlier.
        let until = Instant::now() + sharing;
        // A lease granted to a try whose answer was lost just runs out.
        let grant = |member: &Member| {
            let mut lease = member.lease.clone();
            async move { lease.grant(i64::try_from(granted).unwrap_or(i64::MAX), None).await }
        };
        let answer = self.ask(failover::SMALL, grant).await?;
        open.retain(|_, bucket| Instant::now() < bucket.until);
        open.insert(seconds, Bucket { lease: answer.id(), until, free: VALUES_PER_LEASE - 1 });
        Ok(answer.id())
    }
}

/// A twentieth of the time to live: nobody notices that an Event stays five percent longer.
fn sharing_time(seconds: u64) -> Duration {
    Duration::from_secs((seconds / 20).max(1)).min(LONGEST_SHARING)
}
