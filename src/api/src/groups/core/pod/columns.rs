//! READY, STATUS and RESTARTS of a pod, as `kubectl` has always worked them out.

use crate::print::{self, AGE, NAME};
use crate::resource::Column;
use apimachinery::object::Object;
use apimachinery::time;
use apimachinery::value::Value;
use jiff::Timestamp;

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Ready", |pod, _| {
        let summary = Summary::of(pod);
        Value::from(format!("{}/{}", summary.ready, summary.total))
    })
    .about("The aggregate readiness state of this pod for accepting traffic."),
    Column::new("Status", |pod, _| Value::from(Summary::of(pod).status))
        .about("The aggregate status of the containers in this pod."),
    Column::new("Restarts", |pod, now| Value::from(Summary::of(pod).restarts(now)))
        .about("The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
    AGE,
    Column::new("IP", |pod, _| {
        let first = pod.str_at(&["status", "podIPs", "0", "ip"]);
        Value::from(print::or(print::or(first, pod.str_at(&["status", "podIP"])), print::NONE))
    })
    .wide(),
    Column::new("Node", |pod, _| print::text_or_none(pod, &["spec", "nodeName"])).wide(),
    Column::new("Nominated Node", |pod, _| print::text_or_none(pod, &["status", "nominatedNodeName"])).wide(),
    Column::new("Readiness Gates", |pod, _| Value::from(readiness_gates(pod))).wide(),
];

fn readiness_gates(pod: &Object) -> String {
    let gates = pod.list_at(&["spec", "readinessGates"]);
    let met = gates.iter().filter(|gate| condition(pod, gate.str("conditionType")) == "True").count();
    if gates.is_empty() { print::NONE.to_owned() } else { format!("{met}/{}", gates.len()) }
}

fn condition<'a>(pod: &'a Object, kind: &str) -> &'a str {
    let conditions = pod.list_at(&["status", "conditions"]);
    conditions.iter().find(|one| one.str("type") == kind).map_or("", |one| one.str("status"))
}

/// What the containers of a pod amount to.
struct Summary {
    total: usize,
    ready: usize,
    status: String,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn of(pod: &Object) -> Self {
        let sidecars = pod.list_at(&["spec", "initContainers"]).iter().filter(|one| is_sidecar(one)).count();
        let mut summary = Self {
            total: pod.list_at(&["spec", "containers"]).len() + sidecars,
            ready: 0,
            status: phase(pod),
            restarts: 0,
            last_restart: None,
        };
        let initializing = summary.add_init_containers(pod);
        if !initializing || condition(pod, "Initialized") == "True" {
            summary.add_containers(pod);
        }
        let terminal = matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed");
        if pod.deletion_timestamp().is_some() {
            if pod.str_at(&["status", "reason"]) == "NodeLost" {
                "Unknown".clone_into(&mut summary.status);
            } else if !terminal {
                "Terminating".clone_into(&mut summary.status);
            }
        }
        summary
    }

    /// Returns whether the pod is still held up by an init container.
    fn add_init_containers(&mut self, pod: &Object) -> bool {
        let specs = pod.list_at(&["spec", "initContainers"]);
        let (mut restarts, mut last_restart) = (0, None);
        let mut initializing = false;
        for (index, status) in pod.list_at(&["status", "initContainerStatuses"]).iter().enumerate() {
            let sidecar = specs.iter().any(|spec| spec.str("name") == status.str("name") && is_sidecar(spec));
            self.restarts += restart_count(status);
            self.last_restart = self.last_restart.max(restarted_at(status));
            if sidecar {
                restarts += restart_count(status);
                last_restart = last_restart.max(restarted_at(status));
            }
            if status.at(&["state", "terminated", "exitCode"]).and_then(Value::as_i64) == Some(0) {
                continue;
            }
            if sidecar && status.get("started") == Some(&Value::Bool(true)) {
                self.ready += usize::from(is_ready(status));
                continue;
            }
            self.status = init_status(status, index, specs.len());
            initializing = true;
            break;
        }
        if !initializing || condition(pod, "Initialized") == "True" {
            // From here on only the containers that still run count.
            self.restarts = restarts;
            self.last_restart = last_restart;
        }
        initializing
    }

    fn add_containers(&mut self, pod: &Object) {
        let mut running = false;
        for status in pod.list_at(&["status", "containerStatuses"]).iter().rev() {
            self.restarts += restart_count(status);
            self.last_restart = self.last_restart.max(restarted_at(status));
            let waiting = state_reason(status, "waiting");
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.status);
            } else if let Some(terminated) = status.at(&["state", "terminated"]) {
                self.status = ended(terminated, "");
            } else if is_ready(status) && status.at(&["state", "running"]).is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.status == "Completed" && running {
            let ready = condition(pod, "Ready") == "True";
            if ready { "Running" } else { "NotReady" }.clone_into(&mut self.status);
        }
    }

    fn restarts(&self, now: Timestamp) -> String {
        match self.last_restart {
            Some(last) if self.restarts != 0 => {
                format!("{} ({} ago)", self.restarts, print::duration(now.as_second() - last.as_second()))
            }
            _ => self.restarts.to_string(),
        }
    }
}

fn phase(pod: &Object) -> String {
    let conditions = pod.list_at(&["status", "conditions"]);
    let gated =
        conditions.iter().any(|one| one.str("type") == "PodScheduled" && one.str("reason") == "SchedulingGated");
    if gated {
        return "SchedulingGated".to_owned();
    }
    print::or(pod.str_at(&["status", "reason"]), pod.str_at(&["status", "phase"])).to_owned()
}

fn init_status(status: &Value, index: usize, total: usize) -> String {
    if let Some(terminated) = status.at(&["state", "terminated"]) {
        return ended(terminated, "Init:");
    }
    match state_reason(status, "waiting") {
        "" | "PodInitializing" => format!("Init:{index}/{total}"),
        reason => format!("Init:{reason}"),
    }
}

fn ended(terminated: &Value, prefix: &str) -> String {
    let number = |key| terminated.get(key).and_then(Value::as_i64).unwrap_or_default();
    match (terminated.str("reason"), number("signal")) {
        ("", 0) => format!("{prefix}ExitCode:{}", number("exitCode")),
        ("", signal) => format!("{prefix}Signal:{signal}"),
        (reason, _) => format!("{prefix}{reason}"),
    }
}

fn is_sidecar(spec: &Value) -> bool {
    spec.str("restartPolicy") == "Always"
}

fn is_ready(status: &Value) -> bool {
    status.get("ready") == Some(&Value::Bool(true))
}

fn restart_count(status: &Value) -> i64 {
    status.get("restartCount").and_then(Value::as_i64).unwrap_or_default()
}

fn restarted_at(status: &Value) -> Option<Timestamp> {
    time::parse(status.at(&["lastState", "terminated", "finishedAt"])?.as_str()?)
}

fn state_reason<'a>(status: &'a Value, state: &str) -> &'a str {
    status.at(&["state", state, "reason"]).and_then(Value::as_str).unwrap_or_default()
}
