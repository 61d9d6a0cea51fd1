//! The user's own OpenSSH, with everything filled in.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};

use super::open;
use crate::config::Config;
use crate::exit::{Exit, Refusal};
use crate::state::{Allocations, StateDir, private_dir};
use crate::world::existing;

/// An `ssh` that logs in to `machine`, to be given what it shall do there.
pub(super) fn command(state: &StateDir, machine: &str, config: &Config) -> Result<tokio::process::Command> {
    let allocations = state.allocations()?.context("the cluster has no state")?;
    let name = &allocations.name;
    let key = allocations.machines.get(machine).and_then(|machine| machine.host_key.clone());
    let key = key.ok_or_else(|| {
        Refusal::new(Exit::NotFound, format!("{machine} has not told its SSH host key yet"))
            .hint(format!("`provision console {name} {machine}` shows how far it has booted"))
    })?;
    // A cluster of machines that exist already has no key of its own there.
    private_dir(&state.path("ssh"))?;
    let known_hosts = state.path(&format!("ssh/known_hosts-{machine}"));
    tell_known(&known_hosts, &format!("{machine} {key}\n"))?;
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let proxy = format!(
        "{} --state-dir {} dial {name} {machine} %p",
        ssh::quote(&program.display().to_string()),
        ssh::quote(&config.state_dir.display().to_string())
    );
    let mut command = tokio::process::Command::new("ssh");
    command
        .args(["-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"])
        .args(["-o", &format!("UserKnownHostsFile={}", known_hosts.display())])
        // A machine that lost its power says no farewell: after a minute of silence nobody waits for it any more.
        .args(["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"])
        .args(["-o", &format!("ProxyCommand={proxy}")])
        .arg("-i");
    let (identity, user) = login(state, &allocations);
    command.arg(identity).args(["-l", &user, machine]);
    Ok(command)
}

/// Writes the file of known hosts. Nobody holds the lock of the cluster here, so each of many at once has a draft of its own.
fn tell_known(path: &Path, line: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|present| present == line) {
        return Ok(());
    }
    let write = || -> std::io::Result<()> {
        let mut draft = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path))?;
        draft.write_all(line.as_bytes())?;
        draft.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The key and the user that the cluster's machines are logged in to with.
fn login(state: &StateDir, allocations: &Allocations) -> (PathBuf, String) {
    match &allocations.hosts {
        Some(hosts) => (existing::identity_file(hosts), hosts.user.clone()),
        None => (state.path("ssh/id_ed25519"), "root".to_owned()),
    }
}

/// Runs it to its end with our own input and output.
pub(super) async fn run(mut command: tokio::process::Command, what: &[OsString]) -> Result<std::process::ExitStatus> {
    let status = command.args(what).stdin(Stdio::inherit()).status().await;
    Ok(status.map_err(|error| {
        Refusal::new(Exit::Host, format!("cannot run ssh: {error}")).hint("apt-get install openssh-client")
    })?)
}

/// The machine that was named on the command line, in the cluster that was named.
pub(super) fn machine(cluster: &str, named: Option<&str>, config: &Config) -> Result<(StateDir, String)> {
    let name = open::cluster_name(cluster)?;
    let state = open::state_of(&name, config)?;
    let machine = open::machine_name(&state, named)?;
    Ok((state, machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_may_log_in_to_a_machine_for_the_first_time_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known_hosts-a");
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..16).map(|_| scope.spawn(|| tell_known(&path, "a ssh-ed25519 KEY\n"))).collect();
            for writer in writers {
                writer.join().unwrap().unwrap();
            }
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), "a ssh-ed25519 KEY\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }
}
