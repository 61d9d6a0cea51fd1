//! How fast nodes may be emptied: slowly, more slowly where many fail at once, and not at all where everything is silent,
//! because then it is rather this program that is cut off.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;

use crate::ownership::labels;

/// Between two nodes of a zone (`--node-eviction-rate`: 0.1 a second).
const INTERVAL: Duration = Duration::from_secs(10);
/// The same in a large zone of which most nodes fail (`--secondary-node-eviction-rate`: 0.01 a second).
const SECONDARY_INTERVAL: Duration = Duration::from_secs(100);
/// Nodes of a zone that is large (`--large-cluster-size-threshold`).
const LARGE: usize = 50;
/// Per cent of failing nodes from which a zone is disrupted (`--unhealthy-zone-threshold`: 0.55).
const UNHEALTHY_PERCENT: usize = 55;

/// Whether the pods of a node may be evicted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    Now,
    After(Duration),
    /// Not before other nodes have changed.
    No,
    /// Not even where eviction has begun: no zone has a ready node.
    Withdrawn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zone {
    Normal,
    Partial { size: usize },
    Full,
}

/// When nodes were emptied last.
#[derive(Debug, Default)]
pub(super) struct Zones {
    last: HashMap<String, Instant>,
    /// When all zones were seen to be silent last.
    silent: Option<Instant>,
}

impl Zones {
    /// Asks for a node of a zone; a permit counts as used. After a silence of everything all nodes have `grace` to speak.
    /// A node whose eviction has `begun` needs no second permit.
    pub(super) fn permit(
        &mut self,
        (node, begun): (&Node, bool),
        nodes: &[Arc<Node>],
        grace: Duration,
        now: Instant,
    ) -> Permit {
        let zones = states(nodes);
        let zone = name(node);
        if zones.values().all(|zone| *zone == Zone::Full) {
            self.silent = Some(now);
            return Permit::Withdrawn;
        }
        if begun {
            return Permit::Now;
        }
        let spoke = self.silent.map(|silent| grace.saturating_sub(now.duration_since(silent)));
        if let Some(left) = spoke.filter(|left| !left.is_zero()) {
            return Permit::After(left);
        }
        let interval = match zones.get(&zone) {
            Some(Zone::Partial { size }) if *size <= LARGE => return Permit::No,
            Some(Zone::Partial { .. }) => SECONDARY_INTERVAL,
            // A zone that is silent as a whole while others are well is emptied as any other.
            Some(Zone::Normal | Zone::Full) | None => INTERVAL,
        };
        let left =
            self.last.get(&zone).map_or(Duration::ZERO, |last| interval.saturating_sub(now.duration_since(*last)));
        if left.is_zero() {
            self.last.insert(zone, now);
            return Permit::Now;
        }
        Permit::After(left)
    }
}

fn name(node: &Node) -> String {
    let part = |key: &str| labels(node).get(key).cloned().unwrap_or_default();
    format!("{}/{}", part("topology.kubernetes.io/region"), part("topology.kubernetes.io/zone"))
}

fn states(nodes: &[Arc<Node>]) -> BTreeMap<String, Zone> {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for node in nodes {
        let (ready, failing) = counts.entry(name(node)).or_default();
        *if super::is_ready(node) { ready } else { failing } += 1;
    }
    let state = |(ready, failing): (usize, usize)| match ready + failing {
        _ if ready == 0 => Zone::Full,
        size if failing > 2 && failing * 100 >= size * UNHEALTHY_PERCENT => Zone::Partial { size },
        _ => Zone::Normal,
    };
    counts.into_iter().map(|(zone, counts)| (zone, state(counts))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const GRACE: Duration = Duration::from_secs(50);

    fn nodes(zone: &str, ready: usize, failing: usize) -> Vec<Arc<Node>> {
        let node = |index: usize| {
            let status = if index < ready { "True" } else { "Unknown" };
            let node = json!({"metadata": {"name": format!("{zone}{index}"), "labels": {"topology.kubernetes.io/zone": zone}},
                "status": {"conditions": [{"type": "Ready", "status": status}]}});
            Arc::new(serde_json::from_value(node).unwrap())
        };
        (0..ready + failing).map(node).collect()
    }

    fn asks(zones: &mut Zones, nodes: &[Arc<Node>], now: Instant) -> Permit {
        zones.permit((nodes.last().unwrap(), false), nodes, GRACE, now)
    }

    #[test]
    fn one_node_of_a_zone_is_emptied_every_ten_seconds() {
        let (mut zones, start) = (Zones::default(), Instant::now());
        let few = nodes("a", 3, 2);
        assert_eq!(asks(&mut zones, &few, start), Permit::Now);
        assert_eq!(asks(&mut zones, &few, start + Duration::from_secs(4)), Permit::After(Duration::from_secs(6)));
        assert_eq!(asks(&mut zones, &few, start + Duration::from_secs(10)), Permit::Now);
    }

    #[test]
    fn a_small_zone_that_mostly_fails_is_left_alone_and_a_large_one_emptied_slowly() {
        let (mut zones, start) = (Zones::default(), Instant::now());
        assert_eq!(asks(&mut zones, &nodes("a", 2, 3), start), Permit::No);
        let large = nodes("b", 20, 40);
        assert_eq!(asks(&mut zones, &large, start), Permit::Now);
        let left = Permit::After(Duration::from_secs(90));
        assert_eq!(asks(&mut zones, &large, start + Duration::from_secs(10)), left);
    }

    #[test]
    fn a_zone_that_is_lost_is_emptied_while_another_is_well() {
        let mut all = nodes("well", 2, 0);
        all.extend(nodes("lost", 0, 3));
        assert_eq!(asks(&mut Zones::default(), &all, Instant::now()), Permit::Now);
    }

    #[test]
    fn nothing_is_evicted_while_all_are_silent_and_for_a_while_after() {
        let (mut zones, start) = (Zones::default(), Instant::now());
        let silent = nodes("a", 0, 3);
        assert_eq!(asks(&mut zones, &silent, start), Permit::Withdrawn);
        assert_eq!(zones.permit((&silent[0], true), &silent, GRACE, start), Permit::Withdrawn);
        let after = start + Duration::from_secs(20);
        assert_eq!(asks(&mut zones, &nodes("a", 2, 1), after), Permit::After(Duration::from_secs(30)));
        assert_eq!(asks(&mut zones, &nodes("a", 2, 1), start + GRACE), Permit::Now);
    }
}
