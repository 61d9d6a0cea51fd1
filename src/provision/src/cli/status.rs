//! `provision status CLUSTER`.

use anyhow::Result;
use serde::Serialize;

use super::{open, print, print_json};
use crate::config::{ClusterName, Config};
use crate::context::Context;
use crate::exit::Exit;
use crate::inventory::{Inventory, observe};
use crate::progress::{Format, Silent};
use crate::world::Power;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    name: String,
    api: &'static str,
    server: String,
    network: &'static str,
    machines: Vec<MachineStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MachineStatus {
    name: String,
    role: String,
    address: String,
    power: &'static str,
    ssh: &'static str,
    kubelet: &'static str,
    node: &'static str,
    components: String,
}

pub(super) async fn run(args: &ClusterName, config: &Config) -> Result<Exit> {
    let name = open::cluster_name(&args.cluster)?;
    let context = open::existing(&name, config, std::sync::Arc::new(Silent))?;
    let seen = observe(&context).await?;
    let status = status(&context, &seen);
    match config.output {
        Format::Json => print_json(&status)?,
        Format::Text => print(&text(&status)),
    }
    Ok(Exit::Done)
}

fn status(context: &Context, seen: &Inventory) -> Status {
    let allocations = &context.desired.allocations;
    let server = match allocations.api_port {
        Some(port) => format!("https://127.0.0.1:{port}"),
        None => allocations
            .machines
            .values()
            .next()
            .map_or(String::new(), |machine| format!("https://{}:6443", machine.address)),
    };
    let machines = context.desired.machines.iter().map(|desired| machine(context, seen, desired)).collect();
    Status {
        name: allocations.name.clone(),
        api: word(seen.cluster.ready, "ready", "not ready"),
        server,
        network: word(seen.survey.network, "up", "down"),
        machines,
    }
}

fn machine(context: &Context, seen: &Inventory, desired: &crate::desired::DesiredMachine) -> MachineStatus {
    let name = &desired.machine.name;
    let host = seen.hosts.get(name);
    let is_node = desired.machine.role.is_node();
    let address =
        context.desired.allocations.machines.get(name).map_or(String::new(), |machine| machine.address.to_string());
    MachineStatus {
        name: name.clone(),
        role: desired.machine.role.slug().to_owned(),
        address,
        power: match seen.survey.machines.get(name) {
            Some(Power::On) => "on",
            Some(Power::Off) => "off",
            None => "missing",
        },
        ssh: word(host.is_some(), "reachable", "unreachable"),
        kubelet: word(host.is_some_and(|host| host.kubelet), "running", "not running"),
        node: if is_node { word(seen.cluster.ready_nodes.contains(name), "Ready", "NotReady") } else { "none" },
        components: host.map_or("unknown".to_owned(), |host| host.components.clone()),
    }
}

fn word(yes: bool, good: &'static str, bad: &'static str) -> &'static str {
    if yes { good } else { bad }
}

fn text(status: &Status) -> String {
    let mut lines =
        vec![format!("{}  API {} at {}, network {}", status.name, status.api, status.server, status.network)];
    for (index, machine) in status.machines.iter().enumerate() {
        let branch = if index + 1 == status.machines.len() { "└─" } else { "├─" };
        lines.push(format!(
            "{branch} {}  {}  {}  power {}, SSH {}, kubelet {}, Node {}, components {}",
            machine.name,
            machine.role,
            machine.address,
            machine.power,
            machine.ssh,
            machine.kubelet,
            machine.node,
            machine.components
        ));
    }
    lines.join("\n")
}
