//! The replica sets of a deployment as its history: revisions, and what is copied to each.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;

pub(super) const HASH: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations that belong to one object alone.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// How many pods a set asks for.
pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// How many of its pods are available.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// An annotation that is a number.
pub(super) fn number(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(annotation)?.parse().ok()
}

/// The revision of a set, 0 if it has none.
pub(super) fn revision(set: &ReplicaSet) -> i64 {
    set.metadata.annotations.as_ref().and_then(|all| all.get(REVISION)).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether a set has the template the deployment has now; the hash label is the set's own.
pub(super) fn same_template(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let wanted = deployment.spec.as_ref().map(|spec| without_hash(&spec.template));
    let has = set.spec.as_ref().and_then(|spec| spec.template.as_ref()).map(without_hash);
    wanted.is_some() && wanted == has
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.remove(HASH);
    template
}

/// The set of the current template; the oldest if there are several.
pub(super) fn newest<'a>(deployment: &Deployment, sets: &'a [Arc<ReplicaSet>]) -> Option<&'a Arc<ReplicaSet>> {
    sets.iter().find(|set| same_template(deployment, set))
}

/// The annotations a set takes over from its deployment.
pub(super) fn copied(deployment: &Deployment) -> BTreeMap<String, String> {
    let all = deployment.metadata.annotations.iter().flatten();
    all.filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The revisions a set had before, with the one it is leaving.
pub(super) fn former(set: &ReplicaSet) -> Option<String> {
    let current = revision(set);
    if current == 0 {
        return None;
    }
    let before =
        set.metadata.annotations.as_ref().and_then(|all| all.get(REVISION_HISTORY)).filter(|text| !text.is_empty());
    Some(before.map_or_else(|| current.to_string(), |before| format!("{before},{current}")))
}
