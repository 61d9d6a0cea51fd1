//! `provision list`.

use anyhow::Result;
use serde::Serialize;

use super::{note, print, print_json};
use crate::config::Config;
use crate::exit::Exit;
use crate::progress::Format;
use crate::state::StateDir;

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    /// What it is meant to be: `running`, `stopped`, or `unreadable` if nobody can tell.
    state: &'static str,
    machines: usize,
    network: String,
    libvirt: String,
    kubeconfig: std::path::PathBuf,
}

pub(super) fn run(config: &Config) -> Result<Exit> {
    let mut rows = Vec::new();
    for name in StateDir::all(&config.state_dir)? {
        let state = StateDir::new(&config.state_dir, &name);
        let row = match state.allocations() {
            Ok(None) => continue,
            Ok(Some(allocations)) => Row {
                name,
                state: if state.is_stopped() { "stopped" } else { "running" },
                machines: allocations.machines.len(),
                network: allocations.network.subnet.to_string(),
                libvirt: allocations.libvirt,
                kubeconfig: state.path("kubeconfig"),
            },
            // One cluster that cannot be read hides no other.
            Err(error) => {
                note(&format!("{error:#}"));
                Row { name, state: "unreadable", kubeconfig: state.path("kubeconfig"), ..Row::default() }
            }
        };
        rows.push(row);
    }
    if config.output == Format::Json {
        print_json(&rows)?;
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        print("There are no clusters. `provision topologies/single-node.yaml` makes one.");
        return Ok(Exit::Done);
    }
    print(&format!("{:<28} {:<10} {:>8}  {:<18} LIBVIRT", "NAME", "STATE", "MACHINES", "NETWORK"));
    for Row { name, state, machines, network, libvirt, .. } in rows {
        print(&format!("{name:<28} {state:<10} {machines:>8}  {network:<18} {libvirt}"));
    }
    Ok(Exit::Done)
}
