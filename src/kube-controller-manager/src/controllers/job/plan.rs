//! What is next for a job: which pods are counted, made and removed, and whether it is over.

mod indexes;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::{EnvVar, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::ownership::{is_deleting, reference};
use crate::pods;
use crate::template;

use indexes::Indexes;

/// Keeps a pod until it is counted.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// First and longest wait before a failed pod is followed by another.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(10));
/// The most pods made in one pass.
const AT_ONCE: usize = 50;

pub(super) struct Observed<'a> {
    pub(super) job: &'a Job,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) now: Timestamp,
}

#[derive(Default)]
pub(super) struct Plan {
    pub(super) create: Vec<Pod>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Pods that are in the status and need their finalizer no longer.
    pub(super) counted: Vec<Arc<Pod>>,
    pub(super) status: JobStatus,
    pub(super) recheck: Option<Duration>,
    /// Condition, reason and message of an end that was reached in this pass.
    pub(super) ended: Option<(&'static str, &'static str, String)>,
}

/// Whether a pod still waits to be counted.
pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER)
}

/// How long a job that has ended still stays; `None`: forever, or it has not ended.
pub(super) fn expires(job: &Job, now: Timestamp) -> Option<Duration> {
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let mut conditions = job.status.as_ref()?.conditions.iter().flatten();
    let end = conditions.find(|condition| is_end(condition))?.last_transition_time.as_ref()?.0;
    let waited: Duration = now.duration_since(end).try_into().unwrap_or(Duration::ZERO);
    Some(Duration::from_secs(u64::try_from(ttl).unwrap_or(0)).saturating_sub(waited))
}

fn is_end(condition: &JobCondition) -> bool {
    ["Complete", "Failed"].contains(&condition.type_.as_str()) && condition.status == "True"
}

/// Deleted pods count as failed: they may never come to say so themselves.
fn has_failed(pod: &Pod) -> bool {
    pods::phase(pod) == "Failed" || (is_deleting(pod) && pods::phase(pod) != "Succeeded")
}

fn is_active(pod: &Pod) -> bool {
    !pods::has_ended(pod) && !is_deleting(pod)
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let spec = observed.job.spec.clone().unwrap_or_default();
    let old = observed.job.status.clone().unwrap_or_default();
    let mut plan = Plan { status: old.clone(), ..Plan::default() };
    if old.conditions.iter().flatten().any(is_end) {
        plan.counted = observed.pods.iter().filter(|pod| is_tracked(pod)).cloned().collect();
        return plan;
    }
    let suspended = spec.suspend == Some(true);
    if plan.status.start_time.is_none() && !suspended {
        plan.status.start_time = Some(Time(observed.now));
    }
    count(observed, &spec, &mut plan);
    let active: Vec<&Arc<Pod>> = observed.pods.iter().filter(|pod| is_active(pod)).collect();
    let terminating = observed.pods.iter().filter(|pod| is_deleting(pod.as_ref()) && !pods::has_ended(pod)).count();
    plan.status.ready = Some(number(active.iter().filter(|pod| pods::is_ready(pod)).count()));
    plan.status.terminating = Some(number(terminating));
    let verdict = pending_verdict(&old).or_else(|| verdict(observed, &spec, &plan.status, &active));
    if let Some(verdict) = verdict {
        end(observed, verdict, (&active, terminating), &mut plan);
    } else if suspended {
        suspend(observed, &active, &mut plan);
    } else {
        resume(observed, &mut plan);
        staff(observed, &spec, &active, &mut plan);
    }
    plan
}

/// Takes ended pods into the status, and turns those whose finalizer is gone into numbers.
fn count(observed: &Observed<'_>, spec: &JobSpec, plan: &mut Plan) {
    let uncounted = plan.status.uncounted_terminated_pods.take().unwrap_or_default();
    let mut succeeded: BTreeSet<String> = uncounted.succeeded.into_iter().flatten().collect();
    let mut failed: BTreeSet<String> = uncounted.failed.into_iter().flatten().collect();
    let held = |uid: &String| observed.pods.iter().any(|pod| is_tracked(pod) && pod.metadata.uid.as_ref() == Some(uid));
    let by_index = is_indexed(spec);
    let done = |set: &mut BTreeSet<String>| {
        let before = set.len();
        set.retain(held);
        number(before - set.len())
    };
    let (more, fewer) = (done(&mut succeeded), done(&mut failed));
    plan.status.succeeded = Some(plan.status.succeeded.unwrap_or(0) + if by_index { 0 } else { more });
    plan.status.failed = Some(plan.status.failed.unwrap_or(0) + fewer);
    let mut indexes = Indexes::parse(plan.status.completed_indexes.as_deref().unwrap_or_default());
    for pod in observed.pods.iter().filter(|pod| is_tracked(pod)) {
        let Some(uid) = pod.metadata.uid.clone() else { continue };
        if pods::phase(pod) == "Succeeded" {
            indexes.extend(index_of(pod).filter(|index| *index < spec.completions.unwrap_or(0)));
            succeeded.insert(uid);
        } else if has_failed(pod) {
            failed.insert(uid);
        } else {
            continue;
        }
        plan.counted.push(Arc::clone(pod));
    }
    if by_index {
        plan.status.succeeded = Some(number(indexes.len()));
        plan.status.completed_indexes = Some(indexes.to_string()).filter(|text| !text.is_empty());
    }
    plan.status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
        succeeded: Some(succeeded.into_iter().collect()).filter(|all: &Vec<_>| !all.is_empty()),
        failed: Some(failed.into_iter().collect()).filter(|all: &Vec<_>| !all.is_empty()),
    });
}

/// All that have succeeded or failed, whether they are numbers yet or not.
fn totals(spec: &JobSpec, status: &JobStatus) -> (i32, i32) {
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let open = |all: Option<Vec<String>>| number(all.map_or(0, |all| all.len()));
    let succeeded = status.succeeded.unwrap_or(0) + if is_indexed(spec) { 0 } else { open(uncounted.succeeded) };
    (succeeded, status.failed.unwrap_or(0) + open(uncounted.failed))
}

fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

fn index_of(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(INDEX)?.parse().ok()
}

/// How a job ends.
#[derive(Clone)]
struct Verdict {
    complete: bool,
    reason: &'static str,
    message: String,
}

/// A verdict that was reached before and whose pods are not all gone yet.
fn pending_verdict(old: &JobStatus) -> Option<Verdict> {
    let condition = old.conditions.iter().flatten().find(|condition| {
        ["SuccessCriteriaMet", "FailureTarget"].contains(&condition.type_.as_str()) && condition.status == "True"
    })?;
    let known = ["CompletionsReached", "BackoffLimitExceeded", "DeadlineExceeded"];
    let reason =
        known.into_iter().find(|reason| condition.reason.as_deref() == Some(*reason)).unwrap_or("CompletionsReached");
    let complete = condition.type_ == "SuccessCriteriaMet";
    Some(Verdict { complete, reason, message: condition.message.clone().unwrap_or_default() })
}

fn verdict(observed: &Observed<'_>, spec: &JobSpec, status: &JobStatus, active: &[&Arc<Pod>]) -> Option<Verdict> {
    let (succeeded, failed) = totals(spec, status);
    let limit = spec.backoff_limit.unwrap_or(6);
    let failure = |reason, message: &str| Some(Verdict { complete: false, reason, message: message.to_owned() });
    let restarts: i32 = active.iter().map(|pod| all_restarts(pod)).sum();
    let on_failure = spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) == Some("OnFailure");
    if failed > limit || (on_failure && restarts > 0 && restarts >= limit) {
        return failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if deadline(observed, spec, status).is_some_and(|left| left.is_zero()) {
        return failure("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    let enough = match spec.completions {
        Some(wanted) => succeeded >= wanted,
        // The first to succeed says that the work is done; the others may finish theirs.
        None => succeeded > 0 && active.is_empty(),
    };
    let message = "Reached expected number of succeeded pods".to_owned();
    enough.then_some(Verdict { complete: true, reason: "CompletionsReached", message })
}

fn all_restarts(pod: &Pod) -> i32 {
    let status = pod.status.iter();
    status
        .flat_map(|status| status.init_container_statuses.iter().chain(&status.container_statuses).flatten())
        .map(|container| container.restart_count)
        .sum()
}

fn deadline(observed: &Observed<'_>, spec: &JobSpec, status: &JobStatus) -> Option<Duration> {
    let seconds = spec.active_deadline_seconds.filter(|_| spec.suspend != Some(true))?;
    let start = status.start_time.as_ref()?.0;
    let waited: Duration = observed.now.duration_since(start).try_into().unwrap_or(Duration::ZERO);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).saturating_sub(waited))
}

/// The verdict is told at once, the end when all pods are gone and counted.
fn end(observed: &Observed<'_>, verdict: Verdict, (active, terminating): (&[&Arc<Pod>], usize), plan: &mut Plan) {
    plan.delete.extend(active.iter().map(|pod| Arc::clone(pod)));
    let (first, last) = if verdict.complete { ("SuccessCriteriaMet", "Complete") } else { ("FailureTarget", "Failed") };
    set_condition(&mut plan.status, first, &verdict, observed.now);
    plan.status.active = None;
    let open = plan.status.uncounted_terminated_pods.as_ref();
    let all_counted = open.is_none_or(|open| open.succeeded.is_none() && open.failed.is_none());
    if active.is_empty() && terminating == 0 && all_counted {
        set_condition(&mut plan.status, last, &verdict, observed.now);
        plan.status.ready = Some(0);
        if verdict.complete {
            plan.status.completion_time = Some(Time(observed.now));
        }
        let (reason, message) = if verdict.complete {
            ("Completed", "Job completed".to_owned())
        } else {
            (verdict.reason, verdict.message)
        };
        plan.ended = Some((last, reason, message));
    } else {
        plan.status.active = Some(number(active.len())).filter(|count| *count > 0);
    }
}

fn set_condition(status: &mut JobStatus, kind: &str, verdict: &Verdict, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    if conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True") {
        return;
    }
    conditions.retain(|condition| condition.type_ != kind);
    conditions.push(JobCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(verdict.reason.to_owned()),
        message: Some(verdict.message.clone()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    });
}

fn suspend(observed: &Observed<'_>, active: &[&Arc<Pod>], plan: &mut Plan) {
    plan.delete.extend(active.iter().map(|pod| Arc::clone(pod)));
    plan.status.active = Some(number(active.len())).filter(|count| *count > 0);
    plan.status.start_time = None;
    let verdict = Verdict { complete: false, reason: "JobSuspended", message: "Job suspended".to_owned() };
    set_condition(&mut plan.status, "Suspended", &verdict, observed.now);
}

fn resume(observed: &Observed<'_>, plan: &mut Plan) {
    let conditions = plan.status.conditions.iter_mut().flatten();
    for condition in conditions.filter(|condition| condition.type_ == "Suspended" && condition.status == "True") {
        "False".clone_into(&mut condition.status);
        condition.reason = Some("JobResumed".to_owned());
        condition.message = Some("Job resumed".to_owned());
        condition.last_transition_time = Some(Time(observed.now));
    }
}

/// As many pods as may run side by side and are still needed.
fn staff(observed: &Observed<'_>, spec: &JobSpec, active: &[&Arc<Pod>], plan: &mut Plan) {
    let (succeeded, _) = totals(spec, &plan.status);
    let parallel = spec.parallelism.unwrap_or(1);
    let wanted = match spec.completions {
        Some(completions) => parallel.min(completions - succeeded),
        None if succeeded > 0 => number(active.len()).min(parallel),
        None => parallel,
    };
    let wanted = usize::try_from(wanted).unwrap_or(0);
    let left = deadline(observed, spec, &plan.status);
    plan.recheck = left;
    let surplus = active.len().saturating_sub(wanted);
    // The youngest have done the least.
    let mut by_age: Vec<&Arc<Pod>> = active.to_vec();
    by_age.sort_by_key(|pod| (pods::is_ready(pod), std::cmp::Reverse(pod.metadata.creation_timestamp.clone())));
    plan.delete.extend(by_age.into_iter().take(surplus).map(Arc::clone));
    let mut missing = wanted.saturating_sub(active.len()).min(AT_ONCE);
    if let Some(wait) = backoff(observed).filter(|wait| missing > 0 && !wait.is_zero()) {
        plan.recheck = Some(left.map_or(wait, |left| left.min(wait)));
        missing = 0;
    }
    plan.create = if is_indexed(spec) {
        let done = Indexes::parse(plan.status.completed_indexes.as_deref().unwrap_or_default());
        let taken: BTreeSet<i32> = active.iter().filter_map(|pod| index_of(pod)).collect();
        let free = (0..spec.completions.unwrap_or(0)).filter(|index| !done.contains(*index) && !taken.contains(index));
        free.take(missing).map(|index| pod_for(observed.job, spec, Some(index))).collect()
    } else {
        (0..missing).map(|_| pod_for(observed.job, spec, None)).collect()
    };
    plan.status.active = Some(number(active.len() - surplus + plan.create.len())).filter(|count| *count > 0);
}

/// How long to wait after the failures since the last success.
fn backoff(observed: &Observed<'_>) -> Option<Duration> {
    let end = |pod: &&Arc<Pod>| {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let ends = statuses.filter_map(|status| status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
        ends.map(|time| time.0).max().or_else(|| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
    };
    let success = observed.pods.iter().filter(|pod| pods::phase(pod) == "Succeeded").filter_map(|pod| end(&pod)).max();
    let failures: Vec<Timestamp> = observed
        .pods
        .iter()
        .filter(|pod| pods::phase(pod) == "Failed")
        .filter_map(|pod| end(&pod))
        .filter(|at| success.is_none_or(|success| *at > success))
        .collect();
    let last = failures.iter().max()?;
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(10);
    let wait = (BACKOFF.0 * 2_u32.pow(doublings)).min(BACKOFF.1);
    let waited: Duration = observed.now.duration_since(*last).try_into().unwrap_or(Duration::ZERO);
    Some(wait.saturating_sub(waited))
}

fn pod_for(job: &Job, spec: &JobSpec, index: Option<i32>) -> Pod {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let generate = index.map_or_else(|| format!("{name}-"), |index| format!("{name}-{index}-"));
    let mut pod = template::pod(&spec.template, job.metadata.namespace.as_deref(), &generate, reference(job));
    pod.metadata.finalizers.get_or_insert_default().push(FINALIZER.to_owned());
    let Some(index) = index else { return pod };
    pod.metadata.annotations.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    pod.metadata.labels.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = Some(format!("{name}-{index}"));
    for container in pod_spec.containers.iter_mut().chain(pod_spec.init_containers.iter_mut().flatten()) {
        let env = container.env.get_or_insert_default();
        if env.iter().all(|variable| variable.name != "JOB_COMPLETION_INDEX") {
            let value = Some(index.to_string());
            env.push(EnvVar { name: "JOB_COMPLETION_INDEX".to_owned(), value, value_from: None });
        }
    }
    pod
}

#[cfg(test)]
mod tests;
