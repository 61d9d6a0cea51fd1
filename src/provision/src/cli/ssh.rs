//! `provision ssh CLUSTER [MACHINE] [-- COMMAND]`: OpenSSH with everything filled in.

use std::process::Stdio;

use anyhow::{Context as _, Result};

use super::open;
use crate::config::{Config, SshArgs};
use crate::exit::{Exit, Refusal};
use crate::state::write_private;

pub(super) async fn run(args: &SshArgs, config: &Config) -> Result<Exit> {
    let name = open::cluster_name(&args.cluster)?;
    let state = open::state_of(&name, config)?;
    let machine = open::machine_name(&state, args.machine.as_deref())?;
    let allocations = state.allocations()?.ok_or_else(|| open::no_cluster(&name))?;
    let key = allocations.machines.get(&machine).and_then(|machine| machine.host_key.clone());
    let key = key.ok_or_else(|| {
        Refusal::new(Exit::NotFound, format!("{machine} has not told its SSH host key yet"))
            .hint(format!("`provision console {name} {machine}` shows how far it has booted"))
    })?;
    let known_hosts = state.path("ssh/known_hosts");
    write_private(&known_hosts, format!("{machine} {key}\n").as_bytes())?;
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let proxy = format!(
        "{} --state-dir {} dial {name} {machine} %p",
        ssh::quote(&program.display().to_string()),
        ssh::quote(&config.state_dir.display().to_string())
    );
    let status = tokio::process::Command::new("ssh")
        .args(["-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"])
        .args(["-o", &format!("UserKnownHostsFile={}", known_hosts.display())])
        .args(["-o", &format!("ProxyCommand={proxy}")])
        .arg("-i")
        .arg(state.path("ssh/id_ed25519"))
        .args(["-l", "root", &machine])
        .args(&args.command)
        .stdin(Stdio::inherit())
        .status()
        .await
        .context("cannot run ssh; is openssh-client installed?")?;
    if status.success() { Ok(Exit::Done) } else { Ok(Exit::Failed) }
}
