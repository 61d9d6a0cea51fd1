//! A cron job makes a job each time its schedule says so.

mod schedule;

use std::sync::Arc;
use std::time::Duration;

use controller_runtime::{Event, EventType, ObjectKey, Requeue, WorkQueue};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use kube::api::{DeleteParams, PostParams, Preconditions, PropagationPolicy};

use crate::ownership::{controller_of, is_deleting, reference, uid};
use crate::scope::{Scope, WORKERS, gone_is_fine};
use crate::stores::BY_OWNER;

use schedule::Schedule;

/// The annotation with the time a job was made for.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// A schedule that missed more starts than this is not caught up with: its clock was rather set wrong.
const TOO_MANY: usize = 100;

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("cronjob");
    Scope::feed(&scope.stores.cron_jobs, &queue);
    let by_job = queue.clone();
    scope.stores.jobs.on_event(move |event: &Event<Job>| {
        let job = event.object();
        if let Some(owner) = controller_of(job.as_ref()).filter(|owner| owner.kind == "CronJob") {
            by_job.add(ObjectKey::new(job.metadata.namespace.as_deref().unwrap_or_default(), &owner.name));
        }
    });
    scope.stores.jobs.synced().await;
    let reconciling = scope.clone();
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), key)).await;
}

async fn reconcile(scope: Scope, key: ObjectKey) -> Result<Requeue, kube::Error> {
    let Some(cron) = scope.stores.cron_jobs.get(&key).filter(|cron| !is_deleting(cron.as_ref())) else {
        return Ok(Requeue::No);
    };
    let Some(spec) = cron.spec.as_ref() else { return Ok(Requeue::No) };
    let jobs = scope.stores.jobs.by_index(BY_OWNER, uid(cron.as_ref()));
    tidy(&scope, spec, &jobs).await?;
    let mut status = status_of(&cron, &jobs);
    let outcome = start(&scope, &cron, spec, (&jobs, &mut status)).await;
    if cron.status.as_ref() != Some(&status) {
        let mut changed = CronJob::clone(&cron);
        changed.status = Some(status);
        scope.api::<CronJob>(&key.namespace).replace_status(&key.name, &PostParams::default(), &changed).await?;
    }
    outcome
}

/// Makes the job that is due, if it may be made; answers when the next one is.
async fn start(
    scope: &Scope,
    cron: &CronJob,
    spec: &CronJobSpec,
    (jobs, status): (&[Arc<Job>], &mut CronJobStatus),
) -> Result<Requeue, kube::Error> {
    let (schedule, zone) = match read(spec) {
        Ok(read) => read,
        Err((reason, message)) => {
            scope.recorder.event(&cron.object_ref(&()), EventType::Warning, reason, message);
            return Ok(Requeue::No);
        }
    };
    if spec.suspend == Some(true) {
        return Ok(Requeue::No);
    }
    let now = Timestamp::now();
    let next = schedule.after(now, &zone);
    let again = next.map_or(Requeue::No, |next| Requeue::After(until(now, next)));
    let Some(due) = due(cron, spec, (&schedule, &zone), now) else { return Ok(again) };
    if due.missed > TOO_MANY {
        let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        scope.recorder.event(&cron.object_ref(&()), EventType::Warning, "TooManyMissedTimes", message.to_owned());
    }
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !status.active.as_ref().is_none_or(Vec::is_empty) => return Ok(again),
        Some("Replace") => {
            for job in jobs.iter().filter(|job| !has_ended(job) && !is_deleting(job.as_ref())) {
                remove(scope, job).await?;
            }
            status.active = None;
        }
        _ => {}
    }
    if make(scope, cron, &job_for(cron, spec, due.at, &zone), status).await? {
        status.last_schedule_time = Some(Time(due.at));
    }
    Ok(again)
}

/// The schedule and the clock it follows, or an event that says what is wrong with them.
fn read(spec: &CronJobSpec) -> Result<(Schedule, TimeZone), (&'static str, String)> {
    let schedule = Schedule::parse(&spec.schedule)
        .map_err(|reason| ("UnparseableSchedule", format!("unparseable schedule {:?}: {reason}", spec.schedule)))?;
    let zone = match spec.time_zone.as_deref() {
        None => TimeZone::UTC,
        Some(name) => {
            TimeZone::get(name).map_err(|error| ("UnknownTimeZone", format!("invalid timeZone: {name:?}: {error}")))?
        }
    };
    Ok((schedule, zone))
}

/// Makes a job; `false` if there can be none.
async fn make(scope: &Scope, cron: &CronJob, job: &Job, status: &mut CronJobStatus) -> Result<bool, kube::Error> {
    let namespace = cron.metadata.namespace.as_deref().unwrap_or_default();
    let about = cron.object_ref(&());
    match scope.api::<Job>(namespace).create(&PostParams::default(), job).await {
        Ok(made) => {
            let message = format!("Created job {}", made.metadata.name.as_deref().unwrap_or_default());
            scope.recorder.event(&about, EventType::Normal, "SuccessfulCreate", message);
            status.active.get_or_insert_default().push(reference_to(&made));
            Ok(true)
        }
        // It was made before and is not seen yet.
        Err(kube::Error::Api(answer)) if answer.code == 409 => Ok(true),
        Err(kube::Error::Api(answer)) if super::is_terminating(&answer) => Ok(false),
        Err(error) => {
            let message = format!("Error creating job: {error}");
            scope.recorder.event(&about, EventType::Warning, "FailedCreate", message);
            Err(error)
        }
    }
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    then.duration_since(now).try_into().unwrap_or(Duration::ZERO)
}

/// A start that is due: the newest one, and how many there were.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    at: Timestamp,
    missed: usize,
}

fn due(cron: &CronJob, spec: &CronJobSpec, (schedule, zone): (&Schedule, &TimeZone), now: Timestamp) -> Option<Due> {
    let last = cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    let mut since = last.or(cron.metadata.creation_timestamp.as_ref()).map_or(now, |time| time.0);
    if let Some(deadline) = spec.starting_deadline_seconds {
        // What could not start in time does not start at all.
        since = since.max(now - Duration::from_secs(u64::try_from(deadline).unwrap_or(0)));
    }
    let mut found: Option<Due> = None;
    while let Some(at) = schedule.after(since, zone).filter(|at| *at <= now) {
        let missed = found.as_ref().map_or(0, |found| found.missed) + 1;
        if missed > TOO_MANY {
            // The newest start without counting all before it.
            let at = schedule.after(now - Duration::from_hours(1), zone).filter(|at| *at <= now).unwrap_or(at);
            return Some(Due { at, missed });
        }
        found = Some(Due { at, missed });
        since = at;
    }
    found
}

/// The job of a start; its name says which, so that no start has two.
fn job_for(cron: &CronJob, spec: &CronJobSpec, at: Timestamp, zone: &TimeZone) -> Job {
    let template = spec.job_template.clone();
    let meta = template.metadata.unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED.to_owned(), at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
    Job {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", cron.metadata.name.as_deref().unwrap_or_default(), at.as_second() / 60)),
            namespace: cron.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![reference(cron)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

fn reference_to(job: &Job) -> ObjectReference {
    ObjectReference { field_path: None, ..job.object_ref(&()) }
}

fn has_ended(job: &Job) -> bool {
    ended_as(job, "Complete") || ended_as(job, "Failed")
}

fn ended_as(job: &Job, kind: &str) -> bool {
    let mut conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == kind && condition.status == "True")
}

fn status_of(cron: &CronJob, jobs: &[Arc<Job>]) -> CronJobStatus {
    let old = cron.status.clone().unwrap_or_default();
    let mut active: Vec<ObjectReference> =
        jobs.iter().filter(|job| !has_ended(job)).map(|job| reference_to(job)).collect();
    let mut known = old.active.unwrap_or_default();
    known.retain(|old| active.iter().any(|job| job.uid == old.uid));
    active.retain(|job| known.iter().all(|old| job.uid != old.uid));
    known.extend(active);
    let done = jobs.iter().filter(|job| ended_as(job, "Complete"));
    let ends = done.filter_map(|job| job.status.as_ref()?.completion_time.clone());
    CronJobStatus {
        active: Some(known).filter(|known| !known.is_empty()),
        last_schedule_time: old.last_schedule_time,
        last_successful_time: ends.chain(old.last_successful_time).max_by_key(|time| time.0),
    }
}

/// Removes jobs that have ended, beyond the number that is kept of each kind, oldest first.
async fn tidy(scope: &Scope, spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Result<(), kube::Error> {
    for (kind, limit) in [
        ("Complete", spec.successful_jobs_history_limit.unwrap_or(3)),
        ("Failed", spec.failed_jobs_history_limit.unwrap_or(1)),
    ] {
        let mut ended: Vec<&Arc<Job>> =
            jobs.iter().filter(|job| ended_as(job, kind) && !is_deleting(job.as_ref())).collect();
        ended.sort_by_key(|job| job.status.as_ref().and_then(|status| status.start_time.clone()));
        let surplus = ended.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for job in ended.into_iter().take(surplus) {
            remove(scope, job).await?;
        }
    }
    Ok(())
}

async fn remove(scope: &Scope, job: &Job) -> Result<(), kube::Error> {
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: job.metadata.uid.clone(), ..Preconditions::default() }),
        ..DeleteParams::default()
    };
    let (namespace, name) =
        (job.metadata.namespace.as_deref().unwrap_or_default(), job.metadata.name.as_deref().unwrap_or_default());
    gone_is_fine(scope.api::<Job>(namespace).delete(name, &params).await)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cron(more: &serde_json::Value) -> CronJob {
        let mut spec =
            json!({"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let cron = json!({"metadata": {"name": "tick", "namespace": "d", "uid": "c", "creationTimestamp": "2026-01-01T00:01:00Z"}, "spec": spec});
        serde_json::from_value(cron).unwrap()
    }

    fn due_at(cron: &CronJob, now: &str) -> Option<(String, usize)> {
        let spec = cron.spec.as_ref().unwrap();
        let schedule = Schedule::parse(&spec.schedule).unwrap();
        due(cron, spec, (&schedule, &TimeZone::UTC), now.parse().unwrap()).map(|due| (due.at.to_string(), due.missed))
    }

    #[test]
    fn the_newest_missed_start_is_due_once() {
        let mut cron = cron(&json!({}));
        assert_eq!(due_at(&cron, "2026-01-01T00:04:59Z"), None);
        assert_eq!(due_at(&cron, "2026-01-01T00:05:00Z"), Some(("2026-01-01T00:05:00Z".to_owned(), 1)));
        assert_eq!(due_at(&cron, "2026-01-01T00:17:00Z"), Some(("2026-01-01T00:15:00Z".to_owned(), 3)));
        cron.status = serde_json::from_value(json!({"lastScheduleTime": "2026-01-01T00:15:00Z"})).unwrap();
        assert_eq!(due_at(&cron, "2026-01-01T00:17:00Z"), None);
    }

    #[test]
    fn a_start_that_is_too_late_is_left_out() {
        let cron = cron(&json!({"startingDeadlineSeconds": 60}));
        assert_eq!(due_at(&cron, "2026-01-01T00:07:00Z"), None);
        assert_eq!(due_at(&cron, "2026-01-01T00:05:30Z"), Some(("2026-01-01T00:05:00Z".to_owned(), 1)));
    }

    #[test]
    fn a_job_is_named_after_its_start() {
        let cron = cron(&json!({}));
        let job = job_for(&cron, cron.spec.as_ref().unwrap(), "2026-01-01T00:05:00Z".parse().unwrap(), &TimeZone::UTC);
        assert_eq!(job.metadata.name.as_deref(), Some("tick-29453765"));
        assert_eq!(job.metadata.annotations.unwrap()[SCHEDULED], "2026-01-01T00:05:00+00:00");
    }
}
