//! Reading and writing the file system of a disk without mounting it.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::image::BuildError;
use crate::image::build::tool;

/// How a disk is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Carries out commands on a disk; names of files of this host are taken from `stage`, which the commands are left in too.
pub(super) async fn run(disk: &Path, access: Access, commands: &str, stage: &Path) -> Result<(), BuildError> {
    tool::write(&stage.join("commands"), commands.as_bytes(), 0o644)?;
    let mut command = Command::new("debugfs");
    if access == Access::Write {
        command.arg("-w");
    }
    command.args(["-f", "commands"]).arg(disk).current_dir(stage);
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = run.map_err(|source| BuildError::Run { program: "debugfs".to_owned(), source })?;
    // It ends well whatever happens, and says on standard error what went wrong.
    let said = String::from_utf8_lossy(&output.stderr);
    match said.lines().find(|line| is_complaint(line)) {
        Some(message) => Err(BuildError::Failed { program: "debugfs".to_owned(), message: message.to_owned() }),
        None => Ok(()),
    }
}

/// A folder may be there already; anything else must not happen.
fn is_complaint(line: &str) -> bool {
    !line.starts_with("debugfs 1.") && !line.contains("directory already exists") && !line.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_that_is_there_is_no_complaint() {
        assert!(!is_complaint("debugfs 1.47.0 (5-Feb-2023)"));
        assert!(!is_complaint("mkdir: Ext2 directory already exists "));
        assert!(is_complaint("write: Could not allocate block in ext2 filesystem"));
        assert!(is_complaint("/usr/bin/ctr: File not found by ext2_lookup "));
    }
}
