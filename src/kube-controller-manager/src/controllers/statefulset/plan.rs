//! What is next for a stateful set: one step at a time, lowest ordinal first; down and for updates, highest first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};

use crate::ownership::{is_deleting, labels, reference};
use crate::pods::{self, Availability};
use crate::revisions::{HASH, name_of};
use crate::template;

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

pub(super) struct Observed<'a> {
    pub(super) set: &'a StatefulSet,
    pub(super) pods: &'a [Arc<Pod>],
    /// The hash of the template all pods had last.
    pub(super) current: &'a str,
    /// The hash of the template they are to have.
    pub(super) updated: &'a str,
    pub(super) now: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Ordinals and the hashes of their templates.
    pub(super) create: Vec<(i32, String)>,
    pub(super) delete: Vec<Arc<Pod>>,
    pub(super) status: StatefulSetStatus,
    pub(super) recheck: Option<Duration>,
}

/// The ordinal in the name of a pod of a set.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let rest = pod.metadata.name.as_deref()?.strip_prefix(set.metadata.name.as_deref()?)?.strip_prefix('-')?;
    // `a-01` is the name of somebody else.
    rest.parse().ok().filter(|number: &i32| *number >= 0 && number.to_string() == rest)
}

/// What a pod is like, as far as the order of things depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Available,
    /// It serves, and not long enough yet.
    Soon(Duration),
    /// It starts, fails, or is going.
    Not,
}

pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let spec = observed.set.spec.clone().unwrap_or_default();
    let first = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
    let end = first.saturating_add(spec.replicas.unwrap_or(1));
    let by_ordinal: BTreeMap<i32, &Arc<Pod>> =
        observed.pods.iter().filter_map(|pod| Some((ordinal(observed.set, pod)?, pod))).collect();
    let mut plan = Plan { status: status(observed, &by_ordinal, (first, end)), ..Plan::default() };
    let ordered = spec.pod_management_policy.as_deref() != Some("Parallel");
    if fill(observed, &by_ordinal, (first, end, ordered), &mut plan) == Step::Wait
        || shrink(&by_ordinal, (first, end, ordered), &mut plan) == Step::Wait
    {
        return plan;
    }
    roll(observed, &by_ordinal, (first, end), &mut plan);
    plan
}

#[derive(PartialEq, Eq)]
enum Step {
    Next,
    Wait,
}

/// Every ordinal has a pod that works; in order, one waits for the one before.
fn fill(
    observed: &Observed<'_>,
    pods: &BTreeMap<i32, &Arc<Pod>>,
    (first, end, ordered): (i32, i32, bool),
    plan: &mut Plan,
) -> Step {
    for ordinal in first..end {
        let waits = match pods.get(&ordinal) {
            None => {
                plan.create.push((ordinal, hash_for(observed, first, ordinal).to_owned()));
                true
            }
            Some(pod) if pods::has_ended(pod) => {
                if !is_deleting(pod.as_ref()) {
                    plan.delete.push(Arc::clone(pod));
                }
                true
            }
            Some(pod) => !healthy(observed, pod, plan),
        };
        if waits && ordered {
            return Step::Wait;
        }
    }
    if plan.create.is_empty() && plan.delete.is_empty() { Step::Next } else { Step::Wait }
}

/// Pods beyond the wanted number go, the highest first.
fn shrink(pods: &BTreeMap<i32, &Arc<Pod>>, (first, end, ordered): (i32, i32, bool), plan: &mut Plan) -> Step {
    let surplus: Vec<_> = pods.range(..first).chain(pods.range(end..)).map(|(_, pod)| *pod).collect();
    let now = if ordered { 1 } else { surplus.len() };
    let going = surplus.iter().rev().take(now).filter(|pod| !is_deleting(pod.as_ref()));
    plan.delete.extend(going.map(|pod| Arc::clone(pod)));
    if surplus.is_empty() { Step::Next } else { Step::Wait }
}

/// Pods with an old template go one at a time, the highest first, down to the partition.
fn roll(observed: &Observed<'_>, pods: &BTreeMap<i32, &Arc<Pod>>, (first, end): (i32, i32), plan: &mut Plan) {
    let strategy = observed.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return;
    }
    for ordinal in (first.max(first + partition(observed))..end).rev() {
        let Some(pod) = pods.get(&ordinal) else { return };
        let outdated = labels(pod.as_ref()).get(HASH).map(String::as_str) != Some(observed.updated);
        if outdated && !is_deleting(pod.as_ref()) {
            plan.delete.push(Arc::clone(pod));
            return;
        }
        if !healthy(observed, pod, plan) {
            return;
        }
    }
}

fn partition(observed: &Observed<'_>) -> i32 {
    let strategy = observed.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    strategy.and_then(|strategy| strategy.rolling_update.as_ref()).and_then(|rolling| rolling.partition).unwrap_or(0)
}

fn hash_for<'a>(observed: &Observed<'a>, first: i32, ordinal: i32) -> &'a str {
    let strategy = observed.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let on_delete = strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete");
    if !on_delete && ordinal < first + partition(observed) { observed.current } else { observed.updated }
}

fn health(observed: &Observed<'_>, pod: &Pod) -> Health {
    if is_deleting(pod) || pods::phase(pod) != "Running" {
        return Health::Not;
    }
    let least = observed.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
    match pods::availability(pod, least, observed.now) {
        Availability::Available => Health::Available,
        Availability::Soon(left) => Health::Soon(left),
        Availability::NotReady => Health::Not,
    }
}

/// Whether a pod works; notes when it will, if that is only a matter of time.
fn healthy(observed: &Observed<'_>, pod: &Pod, plan: &mut Plan) -> bool {
    let health = health(observed, pod);
    if let Health::Soon(left) = health {
        plan.recheck = Some(plan.recheck.map_or(left, |other| other.min(left)));
    }
    health == Health::Available
}

fn status(observed: &Observed<'_>, pods: &BTreeMap<i32, &Arc<Pod>>, (first, end): (i32, i32)) -> StatefulSetStatus {
    let old = observed.set.status.clone().unwrap_or_default();
    let count = |wanted: &dyn Fn(&Pod) -> bool| {
        i32::try_from(pods.values().filter(|pod| wanted(pod)).count()).unwrap_or(i32::MAX)
    };
    let has = |pod: &Pod, hash: &str| labels(pod).get(HASH).is_some_and(|known| known == hash) && !is_deleting(pod);
    let ready = |pod: &Pod| pods::phase(pod) == "Running" && pods::is_ready(pod) && !is_deleting(pod);
    let mut status = StatefulSetStatus {
        observed_generation: observed.set.metadata.generation,
        replicas: count(&|pod| !pods::has_ended(pod)),
        ready_replicas: Some(count(&ready)),
        available_replicas: Some(count(&|pod| health(observed, pod) == Health::Available)),
        current_replicas: Some(count(&|pod| has(pod, observed.current))),
        updated_replicas: Some(count(&|pod| has(pod, observed.updated))),
        current_revision: Some(name_of(observed.set, observed.current)),
        update_revision: Some(name_of(observed.set, observed.updated)),
        collision_count: Some(old.collision_count.unwrap_or(0)),
        conditions: old.conditions,
    };
    let wanted = end - first;
    let complete =
        status.updated_replicas == Some(wanted) && status.ready_replicas == Some(wanted) && status.replicas == wanted;
    if complete {
        status.current_revision.clone_from(&status.update_revision);
        status.current_replicas = status.updated_replicas;
    }
    status
}

fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default())
}

/// The volume claims of a pod.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let spec = set.spec.as_ref();
    let templates = spec.and_then(|spec| spec.volume_claim_templates.as_deref()).unwrap_or_default();
    let selected = spec.and_then(|spec| spec.selector.match_labels.clone()).unwrap_or_default();
    let named = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        claim.metadata.name = Some(claim_name(set, template, ordinal));
        claim.metadata.namespace.clone_from(&set.metadata.namespace);
        claim.metadata.labels.get_or_insert_default().extend(selected.clone());
        claim.status = None;
        claim
    };
    templates.iter().map(named).collect()
}

fn claim_name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}", template.metadata.name.as_deref().unwrap_or_default(), pod_name(set, ordinal))
}

/// The pod of an ordinal.
pub(super) fn pod(set: &StatefulSet, template: &PodTemplateSpec, ordinal: i32, hash: &str) -> Pod {
    let name = pod_name(set, ordinal);
    let mut pod = template::pod(template, set.metadata.namespace.as_deref(), "", reference(set));
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let own = [(POD_NAME, name.clone()), (POD_INDEX, ordinal.to_string()), (HASH, hash.to_owned())];
    pod.metadata.labels.get_or_insert_default().extend(own.map(|(key, value)| (key.to_owned(), value)));
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    spec.subdomain = set.spec.as_ref().and_then(|spec| spec.service_name.clone()).filter(|name| !name.is_empty());
    let volumes = spec.volumes.get_or_insert_default();
    let templates = set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_deref()).unwrap_or_default();
    for claim in templates {
        let volume = claim.metadata.name.clone().unwrap_or_default();
        // A claim of the set stands before a volume of the same name in the template.
        volumes.retain(|other| other.name != volume);
        volumes.push(Volume {
            name: volume,
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name(set, claim, ordinal),
                read_only: None,
            }),
            ..Volume::default()
        });
    }
    pod
}

#[cfg(test)]
mod tests;
