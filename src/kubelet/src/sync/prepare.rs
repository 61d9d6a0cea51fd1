//! Before anything runs: admission, folders, the control group, volumes.

use super::{Flow, PodLoop};
use crate::eviction;
use crate::pod::identity;
use crate::pod::status::{Waiting, is_terminal};
use crate::volumes::{self, Workshop};

/// Books the pod, or fails it for good if the node cannot take it.
pub(super) fn admit(pod: &mut PodLoop) -> Flow {
    if pod.admitted || pod.failed.is_some() {
        return Flow::Next;
    }
    let runs_already = pod.observed.alive() || !pod.observed.containers.is_empty();
    let refused = if runs_already { None } else { eviction::refusal(&pod.desired.pod, &pod.node.pressure.borrow()) };
    let verdict = match refused {
        Some(why) => Err(why),
        None => pod.node.ledger.admit(&pod.desired.pod, runs_already, &pod.node.offer),
    };
    match verdict {
        Ok(()) => {
            pod.admitted = true;
            pod.node.cluster.follow(&pod.desired.pod);
            Flow::Next
        }
        Err(reason) => {
            let about = crate::node_context::reference(&pod.desired.pod, None);
            pod.node.reporter.report(&about, true, &reason.reason, &reason.message);
            fail(pod, reason)
        }
    }
}

/// The pod ends by the kubelet's own decision.
pub(super) fn fail(pod: &mut PodLoop, reason: Waiting) -> Flow {
    debug_assert!(!is_terminal(pod.status().phase.as_deref()), "a pod fails once");
    pod.failed = Some(reason);
    Flow::Again
}

/// Folders, the hosts file of pods on the node's network, and the control group.
pub(super) async fn ground(pod: &mut PodLoop) -> Flow {
    let wanted = pod.desired.pod.clone();
    let paths = &pod.node.paths;
    let folders = [paths.pod(identity::uid(&wanted)).join("volumes"), paths.pod_logs(&wanted)];
    for folder in folders {
        if let Err(error) = std::fs::create_dir_all(&folder) {
            return pod
                .trouble("FailedToMakePodDataDirectories", &format!("error making pod data directories: {error}"));
        }
    }
    if let Err(error) = pod.node.cgroups.ensure(&wanted).await {
        return pod.trouble("FailedToCreatePodContainer", &format!("unable to ensure pod container exists: {error}"));
    }
    pod.node.weigh_classes();
    Flow::Next
}

/// Every volume, as it should be now.
pub(super) async fn volumes(pod: &mut PodLoop) -> Flow {
    let node = pod.node.clone();
    let facts = pod.facts();
    let workshop = Workshop { paths: &node.paths, cluster: node.cluster.as_ref(), facts: &facts };
    let wanted = pod.desired.pod.clone();
    match volumes::set_up(&wanted, &workshop).await {
        Ok(mounted) => {
            pod.mounted = mounted;
            Flow::Next
        }
        // What runs goes on with the volumes it has; a token is asked for again soon enough.
        Err(error)
            if pod.observed.containers.iter().any(super::super::pod::observed::Seen::running)
                && !pod.mounted.paths.is_empty() =>
        {
            tracing::warn!(pod = identity::full_name(&wanted), %error, "volumes were not brought up to date");
            pod.mounted.refresh_at = Some(tokio::time::Instant::now() + std::time::Duration::from_secs(10));
            Flow::Next
        }
        Err(error) => pod.trouble("FailedMount", &error.to_string()),
    }
}
