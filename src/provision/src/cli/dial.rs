//! `provision dial CLUSTER MACHINE PORT`: what OpenSSH calls to reach a machine in a private network.

use anyhow::Result;

use super::open;
use crate::config::{Config, DialArgs};
use crate::exit::Exit;
use crate::progress::Silent;

pub(super) async fn run(args: &DialArgs, config: &Config) -> Result<Exit> {
    let context = open::existing(&args.cluster, config, std::sync::Arc::new(Silent))?;
    let stream = context.infrastructure.dial(&args.machine, args.port).await?;
    let (mut from, mut to) = tokio::io::split(stream);
    let (mut stdin, mut stdout) = (tokio::io::stdin(), tokio::io::stdout());
    // The session is over when the machine says so; OpenSSH then closes its side.
    tokio::select! {
        sent = async { tokio::io::copy(&mut stdin, &mut to).await?; std::future::pending::<std::io::Result<u64>>().await } => sent?,
        received = tokio::io::copy(&mut from, &mut stdout) => received?,
    };
    Ok(Exit::Done)
}
