//! The next step of a rollout. Pure: the same observation gives the same step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::history::{self, DESIRED, HASH, MAX, REVISION, REVISION_HISTORY, replicas};
use super::scale::{self, Limits};
use super::status;
use crate::ownership::{is_deleting, reference};

pub(super) type Annotations = BTreeMap<String, String>;

pub(super) struct Observed<'a> {
    pub(super) deployment: &'a Deployment,
    /// Its sets, oldest first.
    pub(super) sets: &'a [Arc<ReplicaSet>],
    /// For each set, whether a pod of it still runs (deleted ones included).
    pub(super) occupied: &'a [bool],
    pub(super) now: Timestamp,
}

#[derive(Debug)]
pub(super) enum Action {
    Create(Box<ReplicaSet>),
    Scale { set: Arc<ReplicaSet>, replicas: i32, annotations: Annotations },
    Delete(Arc<ReplicaSet>),
    SetRevision(String),
    Status(Box<DeploymentStatus>),
}

#[derive(Default)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    /// When the deadline for progress passes.
    pub(super) recheck: Option<Duration>,
}

/// What a rollout is computed from.
pub(super) struct Rollout<'a> {
    pub(super) observed: &'a Observed<'a>,
    pub(super) spec: &'a DeploymentSpec,
    pub(super) wanted: i32,
    pub(super) limits: Limits,
    pub(super) new: Option<&'a Arc<ReplicaSet>>,
    pub(super) old: Vec<&'a Arc<ReplicaSet>>,
}

pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let Some(spec) = observed.deployment.spec.as_ref() else { return Plan::default() };
    let new = history::newest(observed.deployment, observed.sets);
    let is_new = |set: &&Arc<ReplicaSet>| new.is_some_and(|new| Arc::ptr_eq(new, set));
    let old = observed.sets.iter().filter(|set| !is_new(set)).collect();
    let wanted = spec.replicas.unwrap_or(1);
    let rollout = Rollout { observed, spec, wanted, limits: Limits::of(spec, wanted), new, old };
    let mut actions = if is_deleting(observed.deployment) { Vec::new() } else { rollout.steps() };
    let (status, recheck) = status::status(&rollout, &actions);
    if observed.deployment.status.as_ref() != Some(&status) {
        actions.push(Action::Status(Box::new(status)));
    }
    Plan { actions, recheck }
}

impl Rollout<'_> {
    fn steps(&self) -> Vec<Action> {
        let paused = self.spec.paused.unwrap_or(false);
        if paused || self.was_scaled() {
            let mut steps = self.scales(scale::proportional(self));
            if paused {
                steps.extend(self.clean_up());
            }
            return steps;
        }
        let mut steps = if self.recreates() { self.recreate() } else { self.roll() };
        steps.extend(self.revision());
        if steps.is_empty() {
            steps.extend(self.clean_up());
        }
        steps
    }

    fn recreates(&self) -> bool {
        self.spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
    }

    /// The user changed `replicas` since the sets were last told.
    fn was_scaled(&self) -> bool {
        let active = self.observed.sets.iter().filter(|set| replicas(set) > 0);
        active.filter_map(|set| history::number(set, DESIRED)).any(|desired| desired != self.wanted)
    }

    fn recreate(&self) -> Vec<Action> {
        let down: Vec<_> = self.old.iter().filter(|set| replicas(set) > 0).map(|set| (Arc::clone(set), 0)).collect();
        if !down.is_empty() {
            return self.scales(down);
        }
        let is_old = |set: &Arc<ReplicaSet>| self.old.iter().any(|old| Arc::ptr_eq(old, set));
        let waits =
            self.observed.sets.iter().zip(self.observed.occupied).any(|(set, occupied)| *occupied && is_old(set));
        match self.new {
            _ if waits => Vec::new(),
            None => vec![self.create(self.wanted)],
            Some(new) => self.scales(vec![(Arc::clone(new), self.wanted)]),
        }
    }

    fn roll(&self) -> Vec<Action> {
        let Some(new) = self.new else {
            return vec![self.create(scale::new_replicas(self, 0))];
        };
        let up = self.scales(vec![(Arc::clone(new), scale::new_replicas(self, replicas(new)))]);
        if up.is_empty() { self.scales(scale::old_replicas(self, new)) } else { up }
    }

    /// The set of the current template is the latest revision, and the deployment says which that is.
    fn revision(&self) -> Option<Action> {
        let new = self.new?;
        let latest = self.next_revision().max(history::revision(new)).to_string();
        let told = self.observed.deployment.metadata.annotations.as_ref().and_then(|all| all.get(REVISION));
        (told != Some(&latest)).then_some(Action::SetRevision(latest))
    }

    fn next_revision(&self) -> i64 {
        self.old.iter().map(|set| history::revision(set)).max().unwrap_or(0) + 1
    }

    /// Changes to the sets that really change something: the size, or what they are told of the deployment.
    fn scales(&self, sizes: Vec<(Arc<ReplicaSet>, i32)>) -> Vec<Action> {
        let changed = sizes.into_iter().filter_map(|(set, replicas)| {
            let annotations = self.annotations(Some(&set));
            let has = set.metadata.annotations.clone().unwrap_or_default();
            let told = annotations.iter().all(|(key, value)| has.get(key) == Some(value));
            let fits = history::replicas(&set) == replicas;
            (!told || !fits).then_some(Action::Scale { set, replicas, annotations })
        });
        changed.collect()
    }

    /// What a set is told; `None` is the set that is yet to be made.
    fn annotations(&self, set: Option<&Arc<ReplicaSet>>) -> Annotations {
        let mut annotations = Annotations::new();
        let is_new = match (set, self.new) {
            (None, _) => true,
            (Some(set), Some(new)) => Arc::ptr_eq(set, new),
            (Some(_), None) => false,
        };
        if is_new {
            annotations = history::copied(self.observed.deployment);
            let next = self.next_revision();
            let current = set.map_or(0, |set| history::revision(set));
            if current < next {
                annotations.insert(REVISION.to_owned(), next.to_string());
                annotations.extend(
                    set.and_then(|set| history::former(set)).map(|former| (REVISION_HISTORY.to_owned(), former)),
                );
            }
        }
        annotations.insert(DESIRED.to_owned(), self.wanted.to_string());
        annotations.insert(MAX.to_owned(), (self.wanted + self.limits.surge).to_string());
        annotations
    }

    fn create(&self, replicas: i32) -> Action {
        let deployment = self.observed.deployment;
        let hash = super::set_hash(deployment);
        let label = |labels: Option<BTreeMap<String, String>>| {
            let mut labels = labels.unwrap_or_default();
            labels.insert(HASH.to_owned(), hash.clone());
            Some(labels)
        };
        let mut template = self.spec.template.clone();
        let meta = template.metadata.get_or_insert_default();
        meta.labels = label(meta.labels.take());
        let selector = LabelSelector {
            match_labels: label(self.spec.selector.match_labels.clone()),
            ..self.spec.selector.clone()
        };
        let metadata = ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.metadata.name.as_deref().unwrap_or_default())),
            namespace: deployment.metadata.namespace.clone(),
            labels: meta.labels.clone(),
            annotations: Some(self.annotations(None)),
            owner_references: Some(vec![reference(deployment)]),
            ..ObjectMeta::default()
        };
        let spec = ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: self.spec.min_ready_seconds,
            selector,
            template: Some(template),
        };
        Action::Create(Box::new(ReplicaSet { metadata, spec: Some(spec), status: None }))
    }

    /// Old sets beyond the history limit, oldest revision first; only sets that are empty and known to be.
    fn clean_up(&self) -> Vec<Action> {
        let Ok(limit) = usize::try_from(self.spec.revision_history_limit.unwrap_or(10)) else { return Vec::new() };
        let settled = |set: &&&Arc<ReplicaSet>| {
            let status = set.status.as_ref();
            let empty = replicas(set) == 0 && status.is_none_or(|status| status.replicas == 0);
            empty
                && !is_deleting(set.as_ref())
                && status.and_then(|status| status.observed_generation) >= set.metadata.generation
        };
        let excess = self.old.len().saturating_sub(limit);
        let mut old: Vec<_> = self.old.iter().filter(settled).copied().cloned().collect();
        old.sort_by_key(|set| history::revision(set));
        old.into_iter().take(excess).map(Action::Delete).collect()
    }
}
