//! The difference between a wanted pod and a seen one, as things to do. Pure.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::identity;
use super::observed::{Observed, Seen};
use crate::probe::Verdicts;

/// A container to end, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The words of the event.
    pub message: String,
}

/// What to do next for a pod that should run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// End what is left of sandboxes first, then make one with this number.
    pub sandbox: Option<u32>,
    /// Init containers to start, by index.
    pub init: Vec<usize>,
    /// Containers to start, by index.
    pub start: Vec<usize>,
    /// Containers to end.
    pub kill: Vec<Kill>,
    /// Everything has run its course; give the sandbox back.
    pub finished: bool,
}

/// Compares the wanted pod with the seen one.
pub fn plan(pod: &Pod, observed: &Observed, verdicts: &Verdicts) -> Plan {
    let policy = identity::restart_policy(pod);
    let Some(sandbox) = observed.sandbox() else {
        return without_sandbox(pod, observed, policy);
    };
    let mut plan = Plan::default();
    let here = |name: &str| observed.latest(name).filter(|seen| seen.sandbox == sandbox.id);
    let main_started = identity::containers(pod).iter().any(|container| here(&container.name).is_some());
    let initialized = init_containers(pod, &here, main_started, verdicts, &mut plan);
    if initialized == Init::Failed {
        plan.finished = true;
        plan.init.clear();
        return plan;
    }
    if initialized == Init::Pending {
        return plan;
    }
    let mut kept = 0;
    for (index, container) in identity::containers(pod).iter().enumerate() {
        match decide(container, here(&container.name), policy, verdicts) {
            Decision::Start => plan.start.push(index),
            Decision::Keep => kept += 1,
            Decision::Ended => {}
            Decision::Kill(kill, restart) => {
                plan.kill.push(kill);
                kept += usize::from(restart);
            }
        }
    }
    if kept == 0 && plan.start.is_empty() {
        plan.finished = true;
        plan.init.clear();
    }
    plan
}

fn without_sandbox(pod: &Pod, observed: &Observed, policy: &str) -> Plan {
    let attempt = observed
        .sandboxes
        .iter()
        .filter_map(|sandbox| sandbox.metadata.as_ref())
        .map(|metadata| metadata.attempt + 1)
        .max();
    // A pod that must not be repeated is not, only because its sandbox is gone.
    if policy == "Never" && attempt.is_some() && !observed.containers.is_empty() {
        return Plan { finished: true, ..Plan::default() };
    }
    let all_done = attempt.is_some()
        && identity::containers(pod).iter().all(|container| {
            observed.latest(&container.name).is_some_and(|seen| !seen.running() && !should_restart(seen, policy))
        });
    if all_done {
        return Plan { finished: true, ..Plan::default() };
    }
    Plan { sandbox: Some(attempt.unwrap_or(0)), ..Plan::default() }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Init {
    Done,
    Pending,
    Failed,
}

fn init_containers<'a>(
    pod: &'a Pod,
    here: &dyn Fn(&str) -> Option<&'a Seen>,
    main_started: bool,
    verdicts: &Verdicts,
    plan: &mut Plan,
) -> Init {
    let never = identity::restart_policy(pod) == "Never";
    for (index, container) in identity::init_containers(pod).iter().enumerate() {
        let seen = here(&container.name);
        if identity::is_sidecar(container) {
            match decide(container, seen, "Always", verdicts) {
                Decision::Start => plan.init.push(index),
                Decision::Kill(kill, _) => plan.kill.push(kill),
                Decision::Keep | Decision::Ended => {}
            }
            if main_started {
                continue;
            }
            let started = seen.is_some_and(|seen| seen.running() && verdicts.started(&seen.status.id, container));
            if !started {
                return Init::Pending;
            }
            continue;
        }
        if main_started {
            continue;
        }
        match seen {
            Some(seen) if seen.succeeded() => {}
            Some(seen) if seen.running() => return Init::Pending,
            Some(seen) if seen.exited() && never => return Init::Failed,
            _ => {
                plan.init.push(index);
                return Init::Pending;
            }
        }
    }
    Init::Done
}

enum Decision {
    Start,
    Keep,
    Ended,
    /// To end, and whether it comes back.
    Kill(Kill, bool),
}

fn decide(container: &Container, seen: Option<&Seen>, policy: &str, verdicts: &Verdicts) -> Decision {
    let Some(seen) = seen else {
        return Decision::Start;
    };
    if !seen.running() {
        return if should_restart(seen, policy) { Decision::Start } else { Decision::Ended };
    }
    let kill = |message: String, restart: bool| {
        Decision::Kill(Kill { id: seen.status.id.clone(), name: container.name.clone(), message }, restart)
    };
    let changed =
        seen.annotation(identity::CONTAINER_HASH).is_some_and(|hash| hash != identity::container_hash(container));
    if changed {
        return kill(format!("Container {} definition changed, will be restarted", container.name), true);
    }
    let verdict = verdicts.of(&seen.status.id);
    if verdict.alive == Some(false) {
        return kill(
            format!("Container {} failed liveness probe, will be restarted", container.name),
            policy != "Never",
        );
    }
    if verdict.startup_failed {
        return kill(
            format!("Container {} failed startup probe, will be restarted", container.name),
            policy != "Never",
        );
    }
    Decision::Keep
}

fn should_restart(seen: &Seen, policy: &str) -> bool {
    match policy {
        "Never" => !seen.exited(),
        "OnFailure" => !seen.succeeded(),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
