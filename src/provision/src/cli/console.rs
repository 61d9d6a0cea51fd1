//! `provision console CLUSTER [MACHINE]`.

use std::sync::Arc;

use anyhow::Result;

use super::{open, openssh, print};
use crate::config::{Config, MachineName};
use crate::exit::{Exit, Refusal};
use crate::progress::Silent;

pub(super) async fn run(args: &MachineName, config: &Config) -> Result<Exit> {
    let (_, machine) = openssh::machine(&args.cluster, args.machine.as_deref(), config)?;
    let context = open::existing(&open::cluster_name(&args.cluster)?, config, Arc::new(Silent))?;
    let said = context.infrastructure.console(&machine).await?;
    if said.is_empty() {
        return Err(Refusal::new(Exit::NotFound, format!("{machine} has written nothing to its console yet")).into());
    }
    print(&String::from_utf8_lossy(&said));
    Ok(Exit::Done)
}
