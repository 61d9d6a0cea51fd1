//! What a deployment says of itself.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::history::replicas;
use super::plan::{Action, Rollout};

const DONE: &str = "NewReplicaSetAvailable";

/// The status, and when the deadline for progress passes.
pub(super) fn status(rollout: &Rollout<'_>, actions: &[Action]) -> (DeploymentStatus, Option<Duration>) {
    let deployment = rollout.observed.deployment;
    let before = deployment.status.clone().unwrap_or_default();
    let mut status = counts(rollout);
    status.collision_count = before.collision_count;
    status.observed_generation = deployment.metadata.generation;
    let mut conditions = Conditions { all: before.conditions.clone().unwrap_or_default(), now: rollout.observed.now };
    let enough = status.available_replicas.unwrap_or(0) >= rollout.wanted - rollout.limits.unavailable;
    if enough {
        conditions.set("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.");
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions.set("Available", "False", "MinimumReplicasUnavailable", message);
    }
    let recheck = progress(rollout, (&before, &status), actions, &mut conditions);
    failure(rollout, &mut conditions);
    status.conditions = Some(conditions.all);
    (status, recheck)
}

fn counts(rollout: &Rollout<'_>) -> DeploymentStatus {
    let sum = |count: fn(&ReplicaSet) -> i32| rollout.observed.sets.iter().map(|set| count(set)).sum::<i32>();
    let of = |set: &Arc<ReplicaSet>| set.status.as_ref().map_or(0, |status| status.replicas);
    let available = sum(super::history::available);
    let shown = |number: i32| Some(number).filter(|number| *number > 0);
    DeploymentStatus {
        replicas: shown(sum(|set| set.status.as_ref().map_or(0, |status| status.replicas))),
        updated_replicas: shown(rollout.new.map_or(0, of)),
        ready_replicas: shown(sum(|set| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0))),
        available_replicas: shown(available),
        unavailable_replicas: shown(sum(replicas) - available),
        ..DeploymentStatus::default()
    }
}

fn progress(
    rollout: &Rollout<'_>,
    (before, status): (&DeploymentStatus, &DeploymentStatus),
    actions: &[Action],
    conditions: &mut Conditions,
) -> Option<Duration> {
    // As upstream: the largest 32-bit number means that nobody counts.
    let seconds = rollout.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)?;
    let deadline = Duration::from_secs(u64::try_from(seconds).ok()?);
    let about = rollout.new.and_then(|set| set.metadata.name.as_deref()).map(|name| format!("ReplicaSet \"{name}\""));
    let about = about.unwrap_or_else(|| "Deployment".to_owned());
    let reason = conditions.get("Progressing").and_then(|condition| condition.reason.clone()).unwrap_or_default();
    if rollout.spec.paused.unwrap_or(false) {
        if reason != "ProgressDeadlineExceeded" && reason != "DeploymentPaused" {
            conditions.set("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused");
        }
        return None;
    }
    if reason == "DeploymentPaused" {
        conditions.set("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed");
        return Some(deadline);
    }
    if let Some(Action::Create(set)) = actions.iter().find(|action| matches!(action, Action::Create(_))) {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        conditions.renew("NewReplicaSetCreated", &format!("Created new replica set \"{name}\""));
        return Some(deadline);
    }
    if is_complete(rollout, status) {
        if reason != DONE || conditions.get("Progressing").is_none_or(|condition| condition.status != "True") {
            conditions.set("Progressing", "True", DONE, &format!("{about} has successfully progressed."));
        }
        return None;
    }
    if reason == DONE && actions.is_empty() && !has_moved(before, status) {
        // Pods of a finished rollout come and go; that is not a rollout.
        return None;
    }
    if has_moved(before, status) || reason.is_empty() || !actions.is_empty() {
        conditions.renew("ReplicaSetUpdated", &format!("{about} is progressing."));
        return Some(deadline);
    }
    overdue(deadline, &about, conditions)
}

fn overdue(deadline: Duration, about: &str, conditions: &mut Conditions) -> Option<Duration> {
    let since =
        conditions.get("Progressing").and_then(|condition| condition.last_update_time.as_ref()).map(|time| time.0)?;
    let waited = conditions.now.duration_since(since).try_into().unwrap_or(Duration::ZERO);
    if let Some(left) = deadline.checked_sub(waited).filter(|left| !left.is_zero()) {
        return Some(left);
    }
    conditions.set("Progressing", "False", "ProgressDeadlineExceeded", &format!("{about} has timed out progressing."));
    None
}

fn is_complete(rollout: &Rollout<'_>, status: &DeploymentStatus) -> bool {
    let all = |count: Option<i32>| count.unwrap_or(0) == rollout.wanted;
    rollout.new.is_some() && all(status.updated_replicas) && all(status.replicas) && all(status.available_replicas)
}

fn has_moved(before: &DeploymentStatus, status: &DeploymentStatus) -> bool {
    let number = |count: Option<i32>| count.unwrap_or(0);
    let old = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(status.updated_replicas) > number(before.updated_replicas)
        || old(status) < old(before)
        || number(status.ready_replicas) > number(before.ready_replicas)
        || number(status.available_replicas) > number(before.available_replicas)
}

/// A set that cannot make its pods is trouble of the deployment.
fn failure(rollout: &Rollout<'_>, conditions: &mut Conditions) {
    let failed = rollout.new.into_iter().chain(rollout.old.iter().copied()).find_map(|set| {
        set.status
            .as_ref()?
            .conditions
            .as_ref()?
            .iter()
            .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")
    });
    match failed {
        None => conditions.all.retain(|condition| condition.type_ != "ReplicaFailure"),
        Some(failed) => {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            conditions.set("ReplicaFailure", "True", &text(&failed.reason), &text(&failed.message));
        }
    }
}

struct Conditions {
    all: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn get(&self, name: &str) -> Option<&DeploymentCondition> {
        self.all.iter().find(|condition| condition.type_ == name)
    }

    /// Progress was made now.
    fn renew(&mut self, reason: &str, message: &str) {
        self.set("Progressing", "True", reason, message);
        for condition in self.all.iter_mut().filter(|condition| condition.type_ == "Progressing") {
            condition.last_update_time = Some(Time(self.now));
        }
    }

    /// Says something; what is said already keeps its times.
    fn set(&mut self, name: &str, status: &str, reason: &str, message: &str) {
        let before = self.get(name).cloned();
        if before.as_ref().is_some_and(|before| before.status == status && before.reason.as_deref() == Some(reason)) {
            return;
        }
        let kept = before.filter(|before| before.status == status).and_then(|before| before.last_transition_time);
        let condition = DeploymentCondition {
            type_: name.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_update_time: Some(Time(self.now)),
            last_transition_time: kept.or(Some(Time(self.now))),
        };
        match self.all.iter_mut().find(|known| known.type_ == name) {
            Some(known) => *known = condition,
            None => self.all.push(condition),
        }
    }
}
