//! Giving back what belongs to no Service: left behind by a server that died between two writes.
//!
//! Another server may be between the same two writes right now, so only what stays without a Service for several looks
//! is given back. What Services use and nobody has taken is taken anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::cluster_ips::{ClusterIps, services};
use super::{Holdings, bootstrap};
use crate::app::App;

/// The time between two looks; no write takes that long.
const EVERY: Duration = Duration::from_mins(3);
/// So many looks must find an address or a port without a Service, as upstream.
const LOOKS: u32 = 3;

/// Looks for leftovers until the server ends.
pub async fn run(app: Arc<App>) {
    let mut ips = Leftovers::default();
    let mut ports = Leftovers::default();
    loop {
        tokio::select! {
            () = app.stopping.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = bootstrap::ensure_network(&app).await {
            tracing::warn!(%error, "the default network of cluster IPs is not made anew");
        }
        // An address whose object somebody deleted must not be given to another Service.
        app.allocators.adopt(&app).await;
        look(&app, &mut ips, &mut ports).await;
    }
}

async fn look(app: &Arc<App>, ips: &mut Leftovers<IpAddr>, ports: &mut Leftovers<u16>) {
    let mut held = Holdings::default();
    for service in services(app) {
        let of_service = Holdings::of(&service);
        held.ips.extend(of_service.ips);
        held.ports.extend(of_service.ports);
    }
    let lost = ips.seen(&ClusterIps::without_service(app, &held.ips));
    if !lost.is_empty() {
        tracing::info!(count = lost.len(), "giving back cluster IPs without a Service");
        app.allocators.ips.release(app, &lost.into_iter().collect::<Vec<_>>()).await;
    }
    let lost = ports.seen(&app.allocators.ports.without_service(app, &held.ports).await);
    if !lost.is_empty() {
        tracing::info!(count = lost.len(), "giving back node ports without a Service");
        app.allocators.ports.release(app, &lost).await;
    }
}

/// How often each thing was seen without a Service, without a break.
#[derive(Debug)]
struct Leftovers<T>(BTreeMap<T, u32>);

impl<T> Default for Leftovers<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord + Copy> Leftovers<T> {
    /// Takes note of one look and returns what has been seen often enough.
    fn seen(&mut self, now: &BTreeSet<T>) -> BTreeSet<T> {
        self.0.retain(|thing, _| now.contains(thing));
        for thing in now {
            *self.0.entry(*thing).or_default() += 1;
        }
        self.0.iter().filter(|(_, looks)| **looks >= LOOKS).map(|(thing, _)| *thing).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_without_a_service_is_given_back() {
        let mut leftovers = Leftovers::default();
        let look = |leftovers: &mut Leftovers<u16>, now: &[u16]| leftovers.seen(&now.iter().copied().collect());
        assert!(look(&mut leftovers, &[1, 2]).is_empty());
        assert!(look(&mut leftovers, &[1, 3]).is_empty());
        // 2 was taken by a write that was under way, and is under way again.
        assert_eq!(look(&mut leftovers, &[1, 2, 3]), [1].into());
        assert_eq!(look(&mut leftovers, &[2, 3]), [3].into());
    }
}
