//! `provision console CLUSTER [MACHINE]`.

use anyhow::{Context as _, Result};

use super::{open, print};
use crate::config::{Config, MachineName};
use crate::exit::Exit;

pub(super) fn run(args: &MachineName, config: &Config) -> Result<Exit> {
    let name = open::cluster_name(&args.cluster)?;
    let state = open::state_of(&name, config)?;
    let machine = open::machine_name(&state, args.machine.as_deref())?;
    let path = state.path("console").join(format!("{machine}.log"));
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    print(&String::from_utf8_lossy(&bytes));
    Ok(Exit::Done)
}
