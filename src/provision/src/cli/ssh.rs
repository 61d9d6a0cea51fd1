//! `provision ssh CLUSTER [MACHINE] [-- COMMAND]`.

use anyhow::Result;

use super::openssh;
use crate::config::{Config, SshArgs};
use crate::exit::Exit;

pub(super) async fn run(args: &SshArgs, config: &Config) -> Result<Exit> {
    let (state, machine) = openssh::machine(&args.cluster, args.machine.as_deref(), config)?;
    let status = openssh::run(openssh::command(&state, &machine, config)?, &args.command).await?;
    if status.success() { Ok(Exit::Done) } else { Ok(Exit::Failed) }
}
