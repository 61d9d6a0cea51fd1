//! The pod loop: the story of one pod on this node.
//!
//! Each pod has one task. It walks [`STEPS`] from top to bottom whenever something may have changed: the wanted pod,
//! a container, a verdict of a probe, an object it refers to, or a time it waits for. A step does its part and says
//! whether the next one makes sense. Nothing is remembered that can be seen, so a pass that is cut short (because the
//! pod was deleted meanwhile, or the kubelet restarted) is simply followed by another.

mod act;
pub mod finish;
mod prepare;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cri::api::PodSandboxConfig;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::eviction::Eviction;
use crate::node_context::{NodeContext, StatusUpdate};
use crate::pod::backoff::Backoff;
use crate::pod::field::Facts;
use crate::pod::identity;
use crate::pod::observed::{self, Observed};
use crate::pod::status::{self, Picture, Waiting};
use crate::probe::Verdicts;
use crate::probe::task::Probes;
use crate::volumes::Mounted;

/// What a pod goes through on each pass.
pub const STEPS: [Step; 7] = [
    Step { name: "look at the runtime", run: |pod| Box::pin(look(pod)) },
    Step { name: "finish what is deleted or over", run: |pod| Box::pin(finish::finish(pod)) },
    Step { name: "admit", run: |pod| Box::pin(std::future::ready(prepare::admit(pod))) },
    Step { name: "prepare folders and control group", run: |pod| Box::pin(prepare::ground(pod)) },
    Step { name: "set up volumes", run: |pod| Box::pin(prepare::volumes(pod)) },
    Step { name: "run sandbox and containers", run: |pod| Box::pin(act::act(pod)) },
    Step { name: "probe", run: |pod| Box::pin(std::future::ready(act::probe(pod))) },
];

/// One step of the story.
pub struct Step {
    /// What it does.
    pub name: &'static str,
    run: for<'a> fn(&'a mut PodLoop) -> BoxFuture<'a, Flow>,
}

/// How the story goes on after a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// With the next step.
    Next,
    /// From the top, at once: something was changed that must be looked at.
    Again,
    /// From the top, when something happens or this time has passed.
    Wait(Option<Duration>),
    /// Not at all: nothing of the pod is left.
    Done,
}

/// What is wanted of a pod.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The pod as its source describes it.
    pub pod: Arc<Pod>,
    /// The source no longer has it.
    pub removed: bool,
    /// The node cannot keep it.
    pub evicted: Option<Eviction>,
}

impl Desired {
    /// A pod that shall run.
    pub fn new(pod: Arc<Pod>) -> Self {
        Self { pod, removed: false, evicted: None }
    }

    /// The grace period within which the pod must end, if it must.
    fn ends_within(&self) -> Option<i64> {
        (self.removed || self.pod.metadata.deletion_timestamp.is_some()).then(|| identity::grace_period(&self.pod))
    }
}

/// One pod and everything its steps share.
pub struct PodLoop {
    pub(crate) node: Arc<NodeContext>,
    pub(crate) desired: Desired,
    pub(crate) observed: Observed,
    pub(crate) verdicts: Arc<Mutex<Verdicts>>,
    pub(crate) probes: Probes,
    pub(crate) backoff: Backoff,
    pub(crate) waiting: BTreeMap<String, Waiting>,
    pub(crate) mounted: Mounted,
    pub(crate) sandbox_config: PodSandboxConfig,
    /// When each ended container was first seen ended.
    pub(crate) exits: HashMap<String, Instant>,
    pub(crate) failed: Option<Waiting>,
    pub(crate) admitted: bool,
    pub(crate) ended: bool,
    pub(crate) troubles: u32,
    pub(crate) wake: Arc<Notify>,
    status: PodStatus,
}

impl PodLoop {
    /// The loop of a pod; `wake` makes it look again.
    pub fn new(node: Arc<NodeContext>, desired: Desired, wake: Arc<Notify>) -> Self {
        let status = desired.pod.status.clone().unwrap_or_default();
        Self {
            node,
            desired,
            observed: Observed::default(),
            verdicts: Arc::default(),
            probes: Probes::default(),
            backoff: Backoff::default(),
            waiting: BTreeMap::new(),
            mounted: Mounted::default(),
            sandbox_config: PodSandboxConfig::default(),
            exits: HashMap::new(),
            failed: None,
            admitted: false,
            ended: false,
            troubles: 0,
            wake,
            status,
        }
    }

    /// Runs the pod until nothing of it is left.
    pub async fn run(mut self, mut desired: watch::Receiver<Desired>) {
        let wake = self.wake.clone();
        loop {
            self.desired = desired.borrow_and_update().clone();
            let within = self.desired.ends_within();
            let flow = tokio::select! {
                flow = self.pass() => flow,
                // What is in hand is dropped only for a pod that must end sooner than was known.
                () = urgent(&mut desired, within) => continue,
            };
            match flow {
                Flow::Done => return,
                Flow::Next | Flow::Again => {}
                Flow::Wait(time) => {
                    let pause = async {
                        match time {
                            Some(time) => tokio::time::sleep(time).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        changed = desired.changed() => if changed.is_err() { return },
                        () = wake.notified() => {}
                        () = pause => {}
                    }
                }
            }
        }
    }

    async fn pass(&mut self) -> Flow {
        for step in &STEPS {
            tracing::trace!(pod = identity::full_name(&self.desired.pod), step = step.name, "step");
            match (step.run)(self).await {
                Flow::Next => {}
                Flow::Done => return Flow::Done,
                flow => {
                    self.tell();
                    return flow;
                }
            }
        }
        self.tell();
        if status::is_terminal(self.status.phase.as_deref()) && !self.ended {
            // The next pass gives back what the node lent.
            return Flow::Again;
        }
        Flow::Wait(self.next_time())
    }

    /// The nearest moment at which something is due by itself.
    fn next_time(&self) -> Option<Duration> {
        let now = Instant::now();
        let refresh = self.mounted.refresh_at.map(|at| at.saturating_duration_since(now));
        let deadline = finish::deadline(self);
        refresh.into_iter().chain(deadline).min()
    }

    /// Computes the status and hands it on if it changed.
    pub(crate) fn tell(&mut self) {
        let before = std::mem::take(&mut self.status);
        let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let status = status::status(&Picture {
            pod: &self.desired.pod,
            observed: &self.observed,
            verdicts: &verdicts,
            waiting: &self.waiting,
            before: &before,
            host_ips: &self.node.host_ips,
            runtime: &self.node.runtime_name,
            now: k8s_openapi::jiff::Timestamp::now(),
            failed: self.failed.as_ref(),
            ended: self.ended,
        });
        self.status = status.clone();
        self.send(status, false);
    }

    /// Hands a status to the one who tells the API; `gone` once nothing is left.
    pub(crate) fn send(&self, status: PodStatus, gone: bool) {
        // Without a receiver the kubelet is ending, and the next one will tell.
        let _ = self.node.statuses.send(StatusUpdate { pod: self.desired.pod.clone(), status, gone });
    }

    pub(crate) fn status(&self) -> &PodStatus {
        &self.status
    }

    /// What the downward API tells.
    pub(crate) fn facts(&self) -> Facts {
        let pod = &self.desired.pod;
        let pod_ips = if identity::host_network(pod) { self.node.host_ips.clone() } else { self.observed.pod_ips() };
        Facts {
            host_ips: self.node.host_ips.clone(),
            pod_ips,
            allocatable_cpu: self.node.offer.cpu,
            allocatable_memory: self.node.offer.memory,
        }
    }

    /// Notes a failure outside containers, tells of it, and answers when to try again: soon, then less and less soon.
    pub(crate) fn trouble(&mut self, reason: &str, message: &str) -> Flow {
        let delay = Duration::from_millis(100 << self.troubles.min(7)).min(Duration::from_secs(10));
        self.troubles += 1;
        let pod = &self.desired.pod;
        tracing::warn!(pod = identity::full_name(pod), reason, message, "the pod does not get on");
        self.node.reporter.report(&crate::node_context::reference(pod, None), true, reason, message);
        Flow::Wait(Some(delay))
    }
}

async fn urgent(desired: &mut watch::Receiver<Desired>, within: Option<i64>) {
    let sooner = |desired: &Desired| match (desired.ends_within(), within) {
        (Some(now), Some(before)) => now < before,
        (Some(_), None) => true,
        (None, _) => false,
    };
    if desired.wait_for(sooner).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn look(pod: &mut PodLoop) -> Flow {
    let uid = identity::uid(&pod.desired.pod).to_owned();
    let logs = pod.node.paths.pod_logs(&pod.desired.pod);
    match observed::observe(pod.node.runtime.as_ref(), &uid, &logs).await {
        Ok(observed) => pod.observed = observed,
        Err(error) => return pod.trouble("FailedSync", &error.to_string()),
    }
    let now = Instant::now();
    let ended: HashMap<String, Instant> = pod
        .observed
        .containers
        .iter()
        .filter(|seen| seen.exited())
        .map(|seen| (seen.status.id.clone(), pod.exits.get(&seen.status.id).copied().unwrap_or(now)))
        .collect();
    pod.exits = ended;
    Flow::Next
}

#[cfg(test)]
mod tests;
