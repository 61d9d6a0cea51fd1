//! How large each replica set may be during a rollout.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DeploymentSpec, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::history::{self, available, replicas};
use super::plan::Rollout;

/// How far a rollout may leave the wanted size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Pods more than wanted.
    pub(super) surge: i32,
    /// Pods that may be missing.
    pub(super) unavailable: i32,
}

impl Limits {
    pub(super) fn of(spec: &DeploymentSpec, wanted: i32) -> Self {
        let strategy = spec.strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") || wanted == 0 {
            return Self { surge: 0, unavailable: 0 };
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = part(rolling.and_then(|rolling| rolling.max_surge.as_ref()), wanted, true);
        let unavailable = part(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), wanted, false);
        // With both zero nothing could ever move.
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { surge, unavailable: unavailable.min(wanted) }
    }
}

/// A number, or a percentage of the whole; a quarter if nothing is said.
pub(super) fn part(value: Option<&IntOrString>, whole: i32, up: bool) -> i32 {
    let percent = match value {
        Some(IntOrString::Int(number)) => return *number,
        Some(IntOrString::String(text)) => {
            text.strip_suffix('%').and_then(|text| text.parse::<i64>().ok()).unwrap_or(0)
        }
        None => 25,
    };
    let exact = i64::from(whole) * percent;
    let rounded = if up { (exact + 99).div_euclid(100) } else { exact.div_euclid(100) };
    i32::try_from(rounded).unwrap_or(i32::MAX)
}

fn total(rollout: &Rollout<'_>) -> i32 {
    rollout.observed.sets.iter().map(|set| replicas(set)).sum()
}

/// The size of the new set: as much as the surge allows.
pub(super) fn new_replicas(rollout: &Rollout<'_>, current: i32) -> i32 {
    if current >= rollout.wanted {
        return rollout.wanted;
    }
    let room = rollout.wanted + rollout.limits.surge - total(rollout);
    current + room.clamp(0, rollout.wanted - current)
}

/// The sizes of the old sets: first what does not work anyway, then as much as the minimum of available pods allows.
pub(super) fn old_replicas(rollout: &Rollout<'_>, new: &Arc<ReplicaSet>) -> Vec<(Arc<ReplicaSet>, i32)> {
    let minimum = rollout.wanted - rollout.limits.unavailable;
    let mut sizes: Vec<(Arc<ReplicaSet>, i32)> =
        rollout.old.iter().map(|set| (Arc::clone(set), replicas(set))).collect();
    let mut removable = total(rollout) - minimum - (replicas(new) - available(new)).max(0);
    for (set, size) in &mut sizes {
        let broken = (*size - available(set)).clamp(0, removable.max(0));
        *size -= broken;
        removable -= broken;
    }
    let mut spare = rollout.observed.sets.iter().map(|set| available(set)).sum::<i32>() - minimum;
    for (set, size) in &mut sizes {
        // What is left over the available pods of a set was not removable above and stays.
        let working = (*size).min(available(set));
        let removed = working.clamp(0, spare.max(0).min(removable.max(0)));
        *size -= removed;
        spare -= removed;
        removable -= removed;
    }
    sizes
}

/// Spreads a changed size over the sets of a rollout in progress, in proportion to their sizes.
pub(super) fn proportional(rollout: &Rollout<'_>) -> Vec<(Arc<ReplicaSet>, i32)> {
    let sets = &rollout.observed.sets;
    let active: Vec<&Arc<ReplicaSet>> = sets.iter().filter(|set| replicas(set) > 0).collect();
    if let [only] = active[..] {
        return vec![(Arc::clone(only), rollout.wanted)];
    }
    if active.is_empty() {
        let latest = rollout.new.or_else(|| rollout.old.iter().max_by_key(|set| history::revision(set)).copied());
        return latest.map(|set| (Arc::clone(set), rollout.wanted)).into_iter().collect();
    }
    if let Some(new) = rollout.new.filter(|new| replicas(new) == rollout.wanted && available(new) == rollout.wanted) {
        return active.into_iter().filter(|set| !Arc::ptr_eq(set, new)).map(|set| (Arc::clone(set), 0)).collect();
    }
    share(rollout, active)
}

fn share(rollout: &Rollout<'_>, mut active: Vec<&Arc<ReplicaSet>>) -> Vec<(Arc<ReplicaSet>, i32)> {
    let have = total(rollout);
    let allowed = if rollout.wanted > 0 { rollout.wanted + rollout.limits.surge } else { 0 };
    let change = allowed - have;
    // The largest set gets the leftovers of rounding; of equals the newer one.
    active.sort_by_key(|set| (std::cmp::Reverse(replicas(set)), std::cmp::Reverse(history::revision(set))));
    let mut left = change;
    let mut sizes: Vec<(Arc<ReplicaSet>, i32)> = Vec::with_capacity(active.len());
    for set in active {
        let size = replicas(set);
        let exact = i64::from(size) * i64::from(change) / i64::from(have.max(1));
        let part = i32::try_from(exact).unwrap_or(0);
        let part = if left >= 0 { part.clamp(0, left) } else { part.clamp(left, 0) };
        left -= part;
        sizes.push((Arc::clone(set), size + part));
    }
    if let Some((_, size)) = sizes.first_mut() {
        *size = (*size + left).max(0);
    }
    sizes
}
