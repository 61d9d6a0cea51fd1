//! Running what should run: the sandbox, then containers in their order, then their probes.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::time::Instant;

use super::{Flow, PodLoop};
use crate::node_context::reference;
use crate::pod::observed::Seen;
use crate::pod::plan::{self, Kill, Plan};
use crate::pod::start::{self, Place};
use crate::pod::status::Waiting;
use crate::pod::{hosts, identity, sandbox, stop};
use crate::probe::Kind;
use crate::probe::ask::Target;
use crate::probe::task::Listener;

/// How long `ErrImagePull` is shown before it becomes `ImagePullBackOff`.
const SHOWN: Duration = Duration::from_secs(3);

/// Compares and acts.
pub(super) async fn act(pod: &mut PodLoop) -> Flow {
    let verdicts = pod.verdicts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let plan = plan::plan(&pod.desired.pod, &pod.observed, &verdicts);
    if plan.finished {
        if pod.observed.alive() {
            let grace = grace(pod);
            if let Err(error) = stop::pod(&pod.node, &pod.desired.pod, &pod.observed, grace).await {
                return pod.trouble("FailedKillPod", &error.to_string());
            }
            return Flow::Again;
        }
        return Flow::Next;
    }
    if let Some(attempt) = plan.sandbox {
        return run_sandbox(pod, attempt).await;
    }
    for kill in &plan.kill {
        if let Some(flow) = end(pod, kill).await {
            return flow;
        }
    }
    let killed = !plan.kill.is_empty();
    let (started, wait) = start_all(pod, &plan).await;
    if started || killed {
        return Flow::Again;
    }
    match wait {
        // Probes of what runs must not wait for what does not.
        Some(wait) => {
            probe(pod);
            Flow::Wait(Some(wait))
        }
        None => Flow::Next,
    }
}

fn grace(pod: &PodLoop) -> Duration {
    Duration::from_secs(u64::try_from(identity::grace_period(&pod.desired.pod)).unwrap_or(30))
}

async fn run_sandbox(pod: &mut PodLoop, attempt: u32) -> Flow {
    let wanted = pod.desired.pod.clone();
    if !identity::host_network(&wanted) && !*pod.node.network_ready.borrow() {
        // The node tells all pods as soon as its network works.
        let message = "network is not ready: container runtime network not ready";
        pod.node.reporter.report(&reference(&wanted, None), true, "NetworkNotReady", message);
        return Flow::Wait(None);
    }
    if pod.observed.alive()
        && let Err(error) = stop::pod(&pod.node, &wanted, &pod.observed, grace(pod)).await
    {
        return pod.trouble("FailedKillPod", &error.to_string());
    }
    if attempt > 0 {
        let message = "Pod sandbox changed, it will be killed and re-created.";
        pod.node.reporter.report(&reference(&wanted, None), false, "SandboxChanged", message);
    }
    let config = sandbox_config(pod, attempt);
    let handler = wanted.spec.as_ref().and_then(|spec| spec.runtime_class_name.clone()).unwrap_or_default();
    match pod.node.runtime.run_pod_sandbox(config, handler).await {
        Ok(_) => {
            pod.troubles = 0;
            discard_sandboxes(pod).await;
            Flow::Again
        }
        Err(error) => pod.trouble("FailedCreatePodSandBox", &format!("Failed to create pod sandbox: {error}")),
    }
}

/// Dead sandboxes with nothing in them are of no use to anybody.
async fn discard_sandboxes(pod: &PodLoop) {
    for old in &pod.observed.sandboxes {
        let in_use = pod.observed.containers.iter().any(|seen| seen.sandbox == old.id);
        if !in_use && let Err(error) = pod.node.runtime.remove_pod_sandbox(old.id.clone()).await {
            tracing::debug!(sandbox = old.id, %error, "an old sandbox was not removed");
        }
    }
}

fn sandbox_config(pod: &PodLoop, attempt: u32) -> cri::api::PodSandboxConfig {
    let wanted = &pod.desired.pod;
    sandbox::config(wanted, attempt, &pod.node.cgroups.of_pod(wanted), &pod.node.dns, &pod.node.paths)
}

async fn end(pod: &mut PodLoop, kill: &Kill) -> Option<Flow> {
    let seen = pod.observed.containers.iter().find(|seen| seen.status.id == kill.id)?;
    let wanted = pod.desired.pod.clone();
    let ended = stop::container(&pod.node, &wanted, seen, grace(pod), &kill.message).await;
    ended.err().map(|error| pod.trouble("FailedKillPod", &error.to_string()))
}

/// Starts what the plan names; answers whether anything started, and the shortest wait of what may not start yet.
async fn start_all(pod: &mut PodLoop, plan: &Plan) -> (bool, Option<Duration>) {
    let wanted = pod.desired.pod.clone();
    let init = plan.init.iter().map(|index| &identity::init_containers(&wanted)[*index]);
    let main = plan.start.iter().map(|index| &identity::containers(&wanted)[*index]);
    let names: Vec<&Container> = init.chain(main).collect();
    if names.is_empty() {
        return (false, None);
    }
    let facts = pod.facts();
    let attempt =
        pod.observed.sandbox().and_then(|sandbox| sandbox.metadata.as_ref()).map_or(0, |metadata| metadata.attempt);
    pod.sandbox_config = sandbox_config(pod, attempt);
    write_hosts(pod, &facts.pod_ips);
    let (mut started, mut wait) = (false, None);
    for container in names {
        match start_one(pod, container, &facts).await {
            None => started = true,
            Some(delay) => wait = Some(wait.map_or(delay, |wait: Duration| wait.min(delay))),
        }
    }
    (started, wait)
}

/// Starts one container, or answers how long it must wait.
async fn start_one(pod: &mut PodLoop, container: &Container, facts: &crate::pod::field::Facts) -> Option<Duration> {
    let now = Instant::now();
    let key = format!("container {}", container.name);
    let latest = pod.observed.latest(&container.name);
    let ended = latest.filter(|seen| seen.exited()).and_then(|seen| pod.exits.get(&seen.status.id)).copied();
    let failed = ended.or_else(|| pod.backoff.last(&key).filter(|_| pod.waiting.contains_key(&container.name)));
    if let Some(failed) = failed {
        if let Some(remaining) = pod.backoff.remaining(&key, failed, now) {
            crash_loop(pod, container, &key, ended.is_some());
            return Some(remaining);
        }
        pod.backoff.next(&key, now);
    }
    let sandbox = pod.observed.sandbox().map(|sandbox| sandbox.id.clone()).unwrap_or_default();
    let wanted = pod.desired.pod.clone();
    let node = pod.node.clone();
    let place = Place {
        node: &node,
        pod: &wanted,
        observed: &pod.observed,
        sandbox,
        sandbox_config: &pod.sandbox_config,
        volumes: &pod.mounted.paths,
        facts,
    };
    match start::start(&place, container, &mut pod.backoff).await {
        Ok(()) => {
            pod.waiting.remove(&container.name);
            pod.troubles = 0;
            None
        }
        Err(waiting) => {
            let refused = waiting.reason == "ErrImagePull";
            pod.waiting.insert(container.name.clone(), waiting);
            if pod.backoff.last(&key).is_none() {
                pod.backoff.next(&key, now);
            }
            let since = pod.backoff.last(&key).unwrap_or(now);
            let remaining = pod.backoff.remaining(&key, since, now);
            let remaining = remaining.unwrap_or(Duration::from_secs(1));
            Some(if refused { remaining.min(SHOWN) } else { remaining })
        }
    }
}

fn crash_loop(pod: &mut PodLoop, container: &Container, key: &str, crashed: bool) {
    if !crashed {
        // It waits for the next try of what failed before it ever ran; an image waits under its own name.
        if let Some(waiting) = pod.waiting.get_mut(&container.name).filter(|waiting| waiting.reason == "ErrImagePull") {
            let image = container.image.as_deref().unwrap_or_default();
            *waiting = Waiting::new("ImagePullBackOff", format!("Back-off pulling image {image:?}"));
        }
        return;
    }
    let about = reference(&pod.desired.pod, Some(format!("spec.containers{{{}}}", container.name)));
    let full_name = identity::full_name(&pod.desired.pod);
    let message = format!("Back-off restarting failed container {} in pod {full_name}", container.name);
    if pod.waiting.get(&container.name).is_none_or(|waiting| waiting.reason != "CrashLoopBackOff") {
        pod.node.reporter.report(&about, true, "BackOff", &message);
    }
    let delay = component_base::flags::format_duration(pod.backoff.delay(key));
    let text = format!("back-off {delay} restarting failed container={} pod={full_name}", container.name);
    pod.waiting.insert(container.name.clone(), Waiting::new("CrashLoopBackOff", text));
}

fn write_hosts(pod: &PodLoop, pod_ips: &[String]) {
    let wanted = &pod.desired.pod;
    let node_file = if identity::host_network(wanted) {
        std::fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        String::new()
    };
    let text = hosts::file(wanted, pod_ips, &hosts::hostname(wanted), &node_file);
    let path = pod.node.paths.hosts_file(identity::uid(wanted));
    if std::fs::read_to_string(&path).is_ok_and(|present| present == text) {
        return;
    }
    if let Err(error) = std::fs::write(&path, text) {
        tracing::warn!(path = %path.display(), %error, "the hosts file was not written");
    }
}

/// Starts the probes of what runs and stops those of what does not.
pub(super) fn probe(pod: &mut PodLoop) -> Flow {
    let running: Vec<Seen> = pod.observed.containers.iter().filter(|seen| seen.running()).cloned().collect();
    let ip = pod.facts().pod_ips.first().cloned().unwrap_or_default();
    let wanted = pod.desired.pod.clone();
    adopt_verdicts(pod, &running);
    for seen in &running {
        let Some(container) = identity::find_container(&wanted, seen.name()) else {
            continue;
        };
        let target = Target {
            runtime: pod.node.runtime.clone(),
            id: seen.status.id.clone(),
            ip: ip.clone(),
            age: age(seen),
            container: container.clone(),
        };
        let started =
            pod.verdicts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).started(&seen.status.id, container);
        let all: [(Kind, Option<&Probe>); 3] = [
            (Kind::Startup, container.startup_probe.as_ref()),
            (Kind::Liveness, container.liveness_probe.as_ref()),
            (Kind::Readiness, container.readiness_probe.as_ref()),
        ];
        let listener = listener(pod, container);
        for (kind, probe) in all {
            if let (Some(probe), true) = (probe, (kind == Kind::Startup) != started) {
                pod.probes.ensure(kind, probe, &target, &listener);
            }
        }
    }
    let runs = |id: &str| running.iter().any(|seen| seen.status.id == id);
    pod.probes.retain(runs);
    pod.verdicts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).retain(runs);
    Flow::Next
}

/// After a restart of the kubelet, what the API knows of a container stands until its probe speaks.
fn adopt_verdicts(pod: &PodLoop, running: &[Seen]) {
    let Some(status) = &pod.desired.pod.status else {
        return;
    };
    let mut verdicts = pod.verdicts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for seen in running {
        let told = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let same = |id: &Option<String>| id.as_deref().is_some_and(|id| id.ends_with(&seen.status.id));
        if let Some(told) = told.into_iter().find(|told| same(&told.container_id))
            && verdicts.of(&seen.status.id) == crate::probe::Verdict::default()
        {
            if told.started == Some(true) {
                verdicts.set_started(&seen.status.id, true);
            }
            if told.ready {
                verdicts.set_ready(&seen.status.id, true);
            }
        }
    }
}

fn listener(pod: &PodLoop, container: &Container) -> Listener {
    let about = reference(&pod.desired.pod, Some(format!("spec.containers{{{}}}", container.name)));
    let reporter = pod.node.reporter.clone();
    let unhealthy = move |kind: Kind, message: &str| {
        reporter.report(&about, true, "Unhealthy", &format!("{} probe failed: {message}", kind.word()));
    };
    Listener { verdicts: pod.verdicts.clone(), wake: pod.wake.clone(), unhealthy: Arc::new(unhealthy) }
}

fn age(seen: &Seen) -> Duration {
    let now = k8s_openapi::jiff::Timestamp::now().as_nanosecond();
    Duration::from_nanos(u64::try_from(now - i128::from(seen.status.started_at)).unwrap_or(0))
}
