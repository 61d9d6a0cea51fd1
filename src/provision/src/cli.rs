//! One file a verb; [`run`] is the list.

mod apply;
mod console;
mod destroy;
mod dial;
mod doctor;
mod image;
mod kubeconfig;
mod list;
mod open;
mod plan;
mod ssh;
mod status;
mod topology;

use std::io::Write as _;

use anyhow::Result;
use clap::CommandFactory as _;
use tokio_util::sync::CancellationToken;

use crate::config::{Cli, Command, Config};
use crate::exit::Exit;

/// Does what the user asked for.
pub async fn run(command: Command, config: &Config, token: &CancellationToken) -> Result<Exit> {
    match command {
        Command::Apply(args) => apply::run(&args, config, token).await,
        Command::Plan(args) => plan::run(&args, config).await,
        Command::Status(args) => status::run(&args, config).await,
        Command::List => list::run(config),
        Command::Kubeconfig(args) => kubeconfig::run(&args, config),
        Command::Ssh(args) => ssh::run(&args, config).await,
        Command::Console(args) => console::run(&args, config),
        Command::Destroy(args) => destroy::run(&args, config, token).await,
        Command::Image(command) => image::run(command, config).await,
        Command::Topology(command) => topology::run(&command, config),
        Command::Doctor => doctor::run(config).await,
        Command::Dial(args) => dial::run(&args, config).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "provision", &mut std::io::stdout());
            Ok(Exit::Done)
        }
        Command::EmbeddedSupervisor { .. } => anyhow::bail!("the supervisor is started before anything else"),
    }
}

/// Writes a result to standard output; a reader that has gone away is no error.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{}", text.trim_end());
}

/// Writes a result as JSON to standard output.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&serde_json::to_string_pretty(value)?);
    Ok(())
}
