//! `provision list`.

use anyhow::Result;
use serde::Serialize;

use super::{print, print_json};
use crate::config::Config;
use crate::exit::Exit;
use crate::progress::Format;
use crate::state::StateDir;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    machines: usize,
    network: String,
    libvirt: String,
    kubeconfig: std::path::PathBuf,
}

pub(super) fn run(config: &Config) -> Result<Exit> {
    let mut rows = Vec::new();
    for name in StateDir::all(&config.state_dir)? {
        let state = StateDir::new(&config.state_dir, &name);
        if let Some(allocations) = state.allocations()? {
            rows.push(Row {
                name,
                machines: allocations.machines.len(),
                network: allocations.network.subnet.to_string(),
                libvirt: allocations.libvirt,
                kubeconfig: state.path("kubeconfig"),
            });
        }
    }
    if config.output == Format::Json {
        print_json(&rows)?;
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        print("There are no clusters. `provision topologies/single-node.yaml` makes one.");
        return Ok(Exit::Done);
    }
    print(&format!("{:<28} {:>8}  {:<18} LIBVIRT", "NAME", "MACHINES", "NETWORK"));
    for row in rows {
        print(&format!("{:<28} {:>8}  {:<18} {}", row.name, row.machines, row.network, row.libvirt));
    }
    Ok(Exit::Done)
}
