//! The end of a pod: deletion, deadline, or all of its work done.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::prepare::fail;
use super::{Flow, PodLoop};
use crate::pod::observed;
use crate::pod::status::{Waiting, is_terminal};
use crate::pod::{identity, stop};
use crate::probe::Kind;
use crate::volumes;

/// Ends what must end; a pod that should run goes on to the next step.
pub(super) async fn finish(pod: &mut PodLoop) -> Flow {
    let deleted = pod.desired.ends_within();
    if deleted.is_none()
        && pod.failed.is_none()
        && deadline(pod).is_some_and(|left| left.is_zero())
        && !is_terminal(pod.status().phase.as_deref())
    {
        return fail(
            pod,
            Waiting::new("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"),
        );
    }
    if deleted.is_none()
        && pod.failed.is_none()
        && let Some(eviction) = pod.desired.evicted.clone()
        && !is_terminal(pod.status().phase.as_deref())
    {
        return fail(pod, eviction.why);
    }
    let over = is_terminal(pod.status().phase.as_deref());
    if deleted.is_none() && pod.failed.is_none() && !over {
        return Flow::Next;
    }
    // A pod that is ending must not be ended again by its probes.
    pod.probes.stop(Kind::Liveness);
    pod.probes.stop(Kind::Startup);
    if pod.observed.alive() {
        let own = deleted.unwrap_or_else(|| identity::grace_period(&pod.desired.pod));
        let most = pod.desired.evicted.as_ref().map_or(i64::MAX, |eviction| eviction.grace);
        let grace = Duration::from_secs(u64::try_from(own.min(most)).unwrap_or(0));
        if deleted.is_some() {
            pod.tell();
        }
        if let Err(error) = stop(pod, grace).await {
            return pod.trouble("FailedKillPod", &error.to_string());
        }
        return Flow::Again;
    }
    pod.ended = true;
    pod.waiting.clear();
    pod.probes.retain(|_| false);
    pod.tell();
    if let Some(flow) = leave_node(pod).await {
        return flow;
    }
    if deleted.is_none() {
        // Its containers stay for their logs until somebody deletes the pod.
        return Flow::Wait(None);
    }
    remove(pod).await
}

/// Ends everything of the pod; as long as that takes, what its readiness probes find is still told: where no other pod
/// serves, one that is ending does, if it still answers.
async fn stop(pod: &mut PodLoop, grace: Duration) -> Result<(), cri::CriError> {
    let (node, wanted, observed) = (pod.node.clone(), pod.desired.pod.clone(), pod.observed.clone());
    let wake = pod.wake.clone();
    let stopping = stop::pod(&node, &wanted, &observed, grace);
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            outcome = &mut stopping => return outcome,
            () = wake.notified() => pod.tell(),
        }
    }
}

/// Gives back volumes, control group and bookings.
async fn leave_node(pod: &mut PodLoop) -> Option<Flow> {
    let wanted = pod.desired.pod.clone();
    let uid = identity::uid(&wanted);
    let deleted = pod.desired.ends_within().is_some();
    let paths = pod.node.paths.clone();
    let (owner, whole) = (uid.to_owned(), deleted);
    let torn = tokio::task::spawn_blocking(move || {
        if whole { volumes::tear_down(&paths, &owner) } else { volumes::mount::unmount_below(&paths.pod(&owner)) }
    });
    if let Ok(Err(error)) = torn.await {
        return Some(pod.trouble("FailedUnmount", &error.to_string()));
    }
    if let Err(error) = pod.node.cgroups.remove(&wanted).await {
        tracing::debug!(pod = identity::full_name(&wanted), %error, "the control group was not removed");
    }
    pod.node.ledger.release(uid);
    pod.node.weigh_classes();
    pod.node.cluster.release(uid);
    None
}

async fn remove(pod: &mut PodLoop) -> Flow {
    if let Err(error) = stop::remove(&pod.node, &pod.observed).await {
        return pod.trouble("FailedKillPod", &error.to_string());
    }
    let logs = pod.node.paths.pod_logs(&pod.desired.pod);
    if let Err(error) = std::fs::remove_dir_all(&logs)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!(path = %logs.display(), %error, "logs were not removed");
    }
    pod.send(pod.status().clone(), true);
    Flow::Done
}

/// How long the pod may still be active, if it has a deadline.
pub(super) fn deadline(pod: &PodLoop) -> Option<Duration> {
    let seconds = pod.desired.pod.spec.as_ref()?.active_deadline_seconds?;
    let start = pod.status().start_time.as_ref()?.0;
    let left = start.as_second().saturating_add(seconds) - Timestamp::now().as_second();
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}

/// Ends and removes a pod that nobody wants any more and of which only the runtime knows.
pub async fn remove_orphan(node: &crate::node_context::NodeContext, uid: &str) -> Result<(), cri::CriError> {
    let seen = observed::observe(node.runtime.as_ref(), uid, std::path::Path::new("")).await?;
    for container in seen.containers.iter().filter(|seen| seen.running()) {
        let grace = container.annotation(identity::GRACE_PERIOD).and_then(|text| text.parse().ok()).unwrap_or(30);
        node.runtime.stop_container(container.status.id.clone(), Duration::from_secs(grace)).await?;
    }
    stop::remove(node, &seen).await
}
