//! `provision ssh CLUSTER [MACHINE] [-- COMMAND]`.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use anyhow::Result;

use super::openssh;
use crate::config::{Config, SshArgs};
use crate::exit::Exit;

/// What a shell adds to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;

pub(super) async fn run(args: &SshArgs, config: &Config) -> Result<Exit> {
    let (state, machine) = openssh::machine(&args.cluster, args.machine.as_deref(), config)?;
    let status = openssh::run(openssh::command(&state, &machine, config)?, &args.command).await?;
    Ok(passed_on(status))
}

/// The status of the command there, which OpenSSH ends with, or the signal that ended OpenSSH.
fn passed_on(status: ExitStatus) -> Exit {
    let code = status.code().or_else(|| Some(SIGNALLED + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).map_or(Exit::Failed, Exit::Remote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_the_command_is_ours() {
        for (raw, code) in [(0, 0), (42 << 8, 42), (255 << 8, 255), (2, 130)] {
            assert_eq!(passed_on(ExitStatus::from_raw(raw)).code(), code);
        }
    }
}
