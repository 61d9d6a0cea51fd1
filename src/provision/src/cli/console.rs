//! `provision console CLUSTER [MACHINE]`.

use anyhow::{Context as _, Result};

use super::{openssh, print};
use crate::config::{Config, MachineName};
use crate::exit::{Exit, Refusal};

pub(super) fn run(args: &MachineName, config: &Config) -> Result<Exit> {
    let (state, machine) = openssh::machine(&args.cluster, args.machine.as_deref(), config)?;
    let path = state.path("console").join(format!("{machine}.log"));
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(
                Refusal::new(Exit::NotFound, format!("{machine} has written nothing to its console yet")).into()
            );
        }
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    print(&String::from_utf8_lossy(&bytes));
    Ok(Exit::Done)
}
