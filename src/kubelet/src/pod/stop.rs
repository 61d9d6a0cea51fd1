//! Ending containers and sandboxes.

use std::time::Duration;

use cri::CriError;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::identity;
use super::observed::{Observed, Seen};
use super::start::run_hook;
use crate::node_context::{NodeContext, reference};
use crate::probe::ask::Target;

/// The runtime gets at least this long for an orderly stop, unless the pod is ended by force.
const LEAST: Duration = Duration::from_secs(2);

/// Ends one container within `grace`: its hook first, then the signal.
pub async fn container(
    node: &NodeContext,
    pod: &Pod,
    seen: &Seen,
    grace: Duration,
    message: &str,
) -> Result<(), CriError> {
    let about = reference(pod, Some(format!("spec.containers{{{}}}", seen.name())));
    node.reporter.report(&about, false, "Killing", message);
    let begin = Instant::now();
    let spec = identity::find_container(pod, seen.name());
    let hook = spec.and_then(|container| container.lifecycle.as_ref()?.pre_stop.as_ref());
    if let (Some(hook), Some(container), true) = (hook, spec, grace > Duration::ZERO) {
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default();
        let target = Target {
            runtime: node.runtime.clone(),
            id: seen.status.id.clone(),
            ip,
            age: Duration::ZERO,
            container: container.clone(),
        };
        match tokio::time::timeout(grace, run_hook(hook, &target)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                node.reporter.report(&about, true, "FailedPreStopHook", &format!("PreStopHook failed: {error}"));
            }
            Err(_) => node.reporter.report(
                &about,
                true,
                "FailedPreStopHook",
                "PreStopHook did not end within the grace period",
            ),
        }
    }
    let left = if grace.is_zero() { grace } else { grace.saturating_sub(begin.elapsed()).max(LEAST) };
    node.runtime.stop_container(seen.status.id.clone(), left).await
}

/// Ends every container of the pod, sidecars after the others, then its sandboxes.
pub async fn pod(node: &NodeContext, pod: &Pod, observed: &Observed, grace: Duration) -> Result<(), CriError> {
    let sidecar = |seen: &&Seen| identity::find_container(pod, seen.name()).is_some_and(identity::is_sidecar);
    let running: Vec<&Seen> = observed.containers.iter().filter(|seen| seen.running()).collect();
    let (mut last, first): (Vec<&Seen>, Vec<&Seen>) = running.into_iter().partition(sidecar);
    let begin = Instant::now();
    let message = |seen: &Seen| format!("Stopping container {}", seen.name());
    let stopped =
        join_all(first.iter().map(|seen| async { container(node, pod, seen, grace, &message(seen)).await })).await;
    stopped.into_iter().collect::<Result<Vec<()>, CriError>>()?;
    // Sidecars end in the reverse of the order in which they began.
    last.sort_by_key(|seen| {
        std::cmp::Reverse(identity::init_containers(pod).iter().position(|container| container.name == seen.name()))
    });
    for seen in last {
        container(node, pod, seen, grace.saturating_sub(begin.elapsed()), &message(seen)).await?;
    }
    sandboxes(node, observed).await
}

/// Ends the sandboxes of a pod.
pub async fn sandboxes(node: &NodeContext, observed: &Observed) -> Result<(), CriError> {
    for sandbox in &observed.sandboxes {
        node.runtime.stop_pod_sandbox(sandbox.id.clone()).await?;
    }
    Ok(())
}

/// Removes everything of a pod from the runtime.
pub async fn remove(node: &NodeContext, observed: &Observed) -> Result<(), CriError> {
    for seen in &observed.containers {
        node.runtime.remove_container(seen.status.id.clone()).await?;
    }
    for sandbox in &observed.sandboxes {
        node.runtime.stop_pod_sandbox(sandbox.id.clone()).await?;
        node.runtime.remove_pod_sandbox(sandbox.id.clone()).await?;
    }
    Ok(())
}
