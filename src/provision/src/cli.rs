//! One file a verb; [`run`] is the list.

mod apply;
mod completion;
mod consent;
mod console;
mod destroy;
mod dial;
mod doctor;
mod image;
mod kubeconfig;
mod list;
mod logs;
mod open;
mod openssh;
mod plan;
mod power;
mod scale;
mod ssh;
mod status;
mod support_bundle;
mod topology;

use std::io::Write as _;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use crate::config::{Command, Config, Waiting};
use crate::exit::Exit;
use crate::lock::{Lock, Patience};
use crate::state::StateDir;

/// Does what the user asked for.
pub async fn run(command: Command, config: &Config, token: &CancellationToken) -> Result<Exit> {
    match command {
        Command::Apply(args) => apply::run(&args, config, token).await,
        Command::Plan(args) => plan::run(&args, config).await,
        Command::Scale(args) => scale::run(&args, config, token).await,
        Command::Stop(args) => power::stop(&args, config, token).await,
        Command::Start(args) => power::start(&args, config, token).await,
        Command::Status(args) => status::run(&args, config, token).await,
        Command::List => list::run(config),
        Command::Kubeconfig(args) => kubeconfig::run(&args, config),
        Command::Ssh(args) => ssh::run(&args, config).await,
        Command::Console(args) => console::run(&args, config).await,
        Command::Logs(args) => logs::run(&args, config).await,
        Command::SupportBundle(args) => support_bundle::run(&args, config).await,
        Command::Destroy(args) => destroy::run(&args, config, token).await,
        Command::Image(command) => image::run(command, config).await,
        Command::Topology(command) => topology::run(&command, config),
        Command::Doctor => doctor::run(config).await,
        Command::Dial(args) => dial::run(&args, config).await,
        Command::Completion { shell } => Ok(completion::run(shell)),
        Command::Names { cluster } => completion::names(cluster.as_deref(), config),
        Command::EmbeddedSupervisor { .. } => anyhow::bail!("the supervisor is started before anything else"),
    }
}

/// Takes a cluster for `command`, so that no other run works on it.
async fn hold(state: &StateDir, command: &str, waiting: Waiting, token: &CancellationToken) -> Result<Lock> {
    Lock::take(state, command, &Patience { limit: waiting.wait_lock, token, tell: &note }).await
}

/// Writes a result to standard output; a reader that has gone away is no error.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{}", text.trim_end());
}

/// Writes bytes to standard output as they are.
fn print_raw(bytes: &[u8]) {
    let _ = std::io::stdout().lock().write_all(bytes);
}

/// Tells the user something that is no result.
fn note(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "{}", text.trim_end());
}

/// Writes a result as JSON to standard output.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&serde_json::to_string_pretty(value)?);
    Ok(())
}
