//! `provision status CLUSTER`: what can be seen of a cluster, and what cannot be seen and why.

mod certificates;
mod etcd;
mod host;
mod look;
mod model;
mod text;

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

pub(super) use self::look::{client, look};
pub(super) use self::model::assemble;
pub(super) use self::text::text;
use super::{open, print, print_json};
use crate::config::{Config, StatusArgs};
use crate::exit::Exit;
use crate::progress::{Format, Silent};

/// How often `--watch` looks: units and power have no event that could be waited for from here.
const TICK: Duration = Duration::from_secs(3);
/// Clears a terminal and goes to its top.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

pub(super) async fn run(args: &StatusArgs, config: &Config, token: &CancellationToken) -> Result<Exit> {
    let name = open::cluster_name(&args.cluster)?;
    let context = open::existing(&name, config, std::sync::Arc::new(Silent))?;
    if !args.watch {
        let status = assemble(&context, &look(&context).await, jiff::Timestamp::now());
        match config.output {
            Format::Json => print_json(&status)?,
            Format::Text => print(&text(&status)),
        }
        return Ok(Exit::Done);
    }
    let mut shown = String::new();
    loop {
        let raw = tokio::select! {
            biased;
            () = token.cancelled() => return Ok(Exit::Done),
            raw = look(&context) => raw,
        };
        let status = assemble(&context, &raw, jiff::Timestamp::now());
        let now = match config.output {
            Format::Json => serde_json::to_string(&status)?,
            Format::Text => text(&status),
        };
        if now != shown {
            show(&now, config)?;
            shown = now;
        }
        tokio::select! {
            () = token.cancelled() => return Ok(Exit::Done),
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// A terminal shows the present; a file gets one status after the other.
fn show(status: &str, config: &Config) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    if config.output == Format::Text && stdout.is_terminal() {
        write!(stdout, "{CLEAR}")?;
    }
    writeln!(stdout, "{status}")?;
    Ok(stdout.flush()?)
}

#[cfg(test)]
mod tests;
