//! From what was seen to what it means. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use serde::Serialize;
use topology::Role;

use super::certificates::{Certificate, certificates, ending};
use super::etcd::{self, Member};
use super::host::HostLook;
use super::look::{ApiLook, Objects, Raw, Unseen};
use crate::context::Context;
use crate::world::Power;

/// Clocks that differ more make certificates and leases go wrong.
const SKEW_SECONDS: i64 = 30;

/// A cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(super) name: String,
    /// `running`, `degraded`, `stopped`, or `unknown` if nothing is wrong and something took too long to tell.
    pub(super) state: &'static str,
    pub(super) api: ApiStatus,
    pub(super) network: &'static str,
    pub(super) machines: Vec<MachineStatus>,
    pub(super) etcd: Vec<Member>,
    pub(super) certificates: Vec<Certificate>,
    /// What is not as it should be.
    pub(super) problems: Vec<String>,
    /// What could not be looked at, and why.
    pub(super) unseen: Vec<String>,
}

/// The API.
#[derive(Debug, Serialize)]
pub(crate) struct ApiStatus {
    pub(super) server: String,
    /// Nothing if it took too long to tell.
    pub(super) ready: Option<bool>,
    pub(super) version: String,
}

/// A machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MachineStatus {
    pub(super) name: String,
    pub(super) role: String,
    pub(super) address: String,
    /// `on`, `off`, `missing` or `unknown`.
    pub(super) power: &'static str,
    /// `reachable`, `unreachable` or `unknown`.
    pub(super) ssh: &'static str,
    /// Tag of the node programs.
    pub(super) programs: String,
    pub(super) node: Option<NodeStatus>,
    pub(super) components: Vec<Component>,
}

/// A Node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeStatus {
    pub(super) ready: bool,
    pub(super) schedulable: bool,
    pub(super) version: String,
    pub(super) runtime: String,
    pub(super) conditions: Vec<Condition>,
}

/// A condition of a Node.
#[derive(Debug, Serialize)]
pub(crate) struct Condition {
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
}

/// Something that runs on a machine.
#[derive(Debug, Serialize)]
pub(crate) struct Component {
    pub(super) name: String,
    /// `unit` or `pod`.
    pub(super) kind: &'static str,
    pub(super) state: String,
    pub(super) well: bool,
    pub(super) restarts: i32,
}

impl Status {
    /// The cluster's name.
    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }
}

/// What everything that was seen means.
pub(crate) fn assemble(context: &Context, raw: &Raw, now: Timestamp) -> Status {
    let stopped = context.state.is_stopped();
    let mut notes = Notes { stopped, problems: Vec::new(), unseen: Vec::new(), failed: false };
    let names = names(context, raw);
    let machines: Vec<MachineStatus> = names.iter().map(|name| machine(context, raw, name, &mut notes)).collect();
    let etcd = etcd::members(context, raw, &mut notes);
    let certificates = certificates(context, raw, now);
    notes.problems.extend(ending(&certificates));
    clocks(raw, now, &mut notes);
    let api = api(context, raw, &mut notes);
    let network = match &raw.survey {
        Ok(survey) if survey.network => "up",
        Ok(_) => "down",
        Err(why) => {
            notes.unseen("machines", &Unseen::Failed(why.clone()));
            "unknown"
        }
    };
    let on = machines.iter().any(|machine| machine.power == "on");
    let state = match (stopped, notes.problems.is_empty()) {
        (true, _) if !on => "stopped",
        (_, true) if notes.unseen.is_empty() => "running",
        (_, true) if !notes.failed => "unknown",
        _ => "degraded",
    };
    let (problems, unseen) = (notes.problems, notes.unseen);
    let name = context.desired.topology.name().to_owned();
    Status { name, state, api, network, machines, etcd, certificates, problems, unseen }
}

/// What there is to say about what was seen, and about what was not.
pub(super) struct Notes {
    /// What is off is meant to be.
    stopped: bool,
    problems: Vec<String>,
    unseen: Vec<String>,
    /// Something was not seen because it failed, not because it was late.
    failed: bool,
}

impl Notes {
    /// Something is not as it should be, unless the cluster is meant to be off.
    pub(super) fn problem(&mut self, text: String) {
        if !self.stopped {
            self.problems.push(text);
        }
    }

    /// Something could not be looked at.
    pub(super) fn unseen(&mut self, what: &str, why: &Unseen) {
        self.unseen.push(format!("{what}: {why}"));
        self.failed |= matches!(why, Unseen::Failed(_));
    }
}

/// Machines that are asked for, in their order, then others that are there.
fn names(context: &Context, raw: &Raw) -> Vec<String> {
    let mut names: Vec<String> = context.desired.machines.iter().map(|desired| desired.machine.name.clone()).collect();
    let there = raw.survey.iter().flat_map(|survey| survey.machines.keys());
    names.extend(there.filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
    names
}

fn machine(context: &Context, raw: &Raw, name: &str, notes: &mut Notes) -> MachineStatus {
    let desired = context.desired.machine(name).ok();
    let role = desired.map(|desired| &desired.machine.role);
    let power = match raw.survey.as_ref().map(|survey| survey.machines.get(name)) {
        Ok(Some(Power::On)) => "on",
        Ok(Some(Power::Off)) => "off",
        Ok(None) => "missing",
        Err(_) => "unknown",
    };
    match power {
        "off" => notes.problem(format!("{name} is switched off")),
        "missing" => notes.problem(format!("{name} does not exist")),
        _ => {}
    }
    if role.is_none() {
        notes.problem(format!("{name} is there and the topology does not ask for it"));
    }
    let host = raw.hosts.get(name);
    let ssh = reachable(host);
    if let Some(Err(why)) = host {
        notes.unseen(name, why);
    }
    let host = host.and_then(|host| host.as_ref().ok());
    let mut components: Vec<Component> = host.map(|host| units(host, role)).unwrap_or_default();
    let mut node = None;
    if let Ok(ApiLook { objects: Ok(Objects { nodes, pods }), .. }) = &raw.api {
        components.extend(pods.iter().filter(|pod| node_of(pod) == Some(name)).map(pod));
        node = nodes.iter().find(|node| node.name_any() == name).map(node_status);
        if node.is_none() && power == "on" && role.is_some_and(Role::is_node) {
            notes.problem(format!("{name} runs and has no Node"));
        }
    }
    for component in components.iter().filter(|component| !component.well) {
        notes.problem(format!("{name}: {} is {}", component.name, component.state));
    }
    if let Some(node) = &node {
        let wrong =
            node.conditions.iter().filter(|condition| (condition.kind == "Ready") != (condition.status == "True"));
        for condition in wrong {
            let Condition { kind, status, reason, message } = condition;
            notes.problem(format!("Node {name}: {kind} is {status} ({reason}): {message}"));
        }
    }
    MachineStatus {
        name: name.to_owned(),
        role: role.map_or("not asked for".to_owned(), |role| role.slug().to_owned()),
        address: context
            .desired
            .allocations
            .machines
            .get(name)
            .map_or(String::new(), |given| given.address.to_string()),
        power,
        ssh,
        programs: host.map_or(String::new(), |host| host.components.clone()),
        node,
        components,
    }
}

fn reachable(host: Option<&Result<HostLook, Unseen>>) -> &'static str {
    match host {
        Some(Ok(_)) => "reachable",
        Some(Err(why)) => why.word("unreachable"),
        None => "unreachable",
    }
}

/// What a machine of this role does not work without.
fn is_needed(unit: &str, role: Option<&Role>) -> bool {
    match role {
        Some(Role::ControlPlane | Role::Worker(_)) => ["kubelet", "containerd"].contains(&unit),
        Some(Role::Etcd) => unit == "etcd",
        Some(Role::LoadBalancer) => ["haproxy", "keepalived"].contains(&unit),
        None => false,
    }
}

fn units(host: &HostLook, role: Option<&Role>) -> Vec<Component> {
    let unit = |(name, state): (&String, &String)| Component {
        name: name.clone(),
        kind: "unit",
        state: state.clone(),
        well: state == "active",
        restarts: 0,
    };
    let here = host.units.iter().filter(|(name, state)| !state.starts_with("inactive") || is_needed(name, role));
    here.map(unit).collect()
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn pod(pod: &Pod) -> Component {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Unknown");
    let stuck = containers.iter().find_map(|container| {
        let state = container.state.as_ref()?;
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
        waiting.or_else(|| state.terminated.as_ref().and_then(|ended| ended.reason.clone()))
    });
    let ready = !containers.is_empty() && containers.iter().all(|container| container.ready);
    let well = phase == "Succeeded" || (phase == "Running" && ready);
    let state = match (well, stuck) {
        (true, _) => phase.to_lowercase(),
        (false, Some(reason)) => reason,
        (false, None) if phase == "Running" => "running and not ready".to_owned(),
        (false, None) => phase.to_lowercase(),
    };
    let restarts = containers.iter().map(|container| container.restart_count).sum();
    // A static pod is called like its Node; nobody needs to read that twice.
    let name = pod.name_any();
    let short = node_of(pod).and_then(|node| name.strip_suffix(&format!("-{node}")));
    Component { name: short.unwrap_or(&name).to_owned(), kind: "pod", state, well, restarts }
}

fn node_status(node: &Node) -> NodeStatus {
    let status = node.status.clone().unwrap_or_default();
    let info = status.node_info.unwrap_or_default();
    let conditions: Vec<Condition> = status
        .conditions
        .unwrap_or_default()
        .into_iter()
        .map(|condition| Condition {
            kind: condition.type_,
            status: condition.status,
            reason: condition.reason.unwrap_or_default(),
            message: condition.message.unwrap_or_default(),
        })
        .collect();
    NodeStatus {
        ready: conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True"),
        schedulable: !node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false),
        version: info.kubelet_version,
        runtime: info.container_runtime_version,
        conditions,
    }
}

fn clocks(raw: &Raw, now: Timestamp, notes: &mut Notes) {
    for (name, host) in &raw.hosts {
        let Some(clock) = host.as_ref().ok().and_then(|host| host.clock) else { continue };
        let skew = clock - now.as_second();
        if skew.abs() > SKEW_SECONDS {
            notes.problem(format!(
                "{name}: its clock is {} s {}",
                skew.abs(),
                if skew > 0 { "ahead" } else { "behind" }
            ));
        }
    }
}

fn api(context: &Context, raw: &Raw, notes: &mut Notes) -> ApiStatus {
    let kubeconfig = &context.desired.kubeconfig;
    let server = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("server: "));
    let server = server.unwrap_or_default().trim_matches('"').to_owned();
    match &raw.api {
        Ok(ApiLook { version, ready, objects }) => {
            match ready {
                Ok(true) => {}
                Ok(false) => notes.problem(format!("the API at {server} is not ready")),
                Err(why) => notes.unseen(&format!("whether the API at {server} is ready"), why),
            }
            if let Err(why) = objects {
                notes.unseen("Nodes and pods", why);
            }
            ApiStatus { server, ready: ready.as_ref().ok().copied(), version: version.clone() }
        }
        Err(why) => {
            if !notes.stopped || !raw.hosts.is_empty() {
                notes.unseen(&format!("Nodes and pods, for the API at {server} does not answer"), why);
            }
            let ready = match why {
                Unseen::Late(_) => None,
                Unseen::Failed(_) => {
                    notes.problem(format!("the API at {server} does not answer"));
                    Some(false)
                }
            };
            ApiStatus { server, ready, version: String::new() }
        }
    }
}
