//! Running the programs that make an image, and small files.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::SILENCE;
use crate::image::{Listener, Progress};

/// How many of a tool's last lines an error shows.
const LAST_LINES: usize = 12;

/// A failed build; [`BuildError::cure`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Devices and owners in a root file system need root.
    #[error("building a node image needs root")]
    NotRoot,
    /// A program is missing.
    #[error("{program} is not installed")]
    NoTool {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// The disk is nearly full.
    #[error("{path} has {free_mib} MiB free and an image needs {needed_mib} MiB")]
    NoSpace {
        /// Where the image would be made.
        path: PathBuf,
        /// What is free.
        free_mib: u64,
        /// What is needed.
        needed_mib: u64,
    },
    /// No Debian archive is named in the machine's sources.
    #[error("no Debian mirror is named in /etc/apt")]
    NoMirror,
    /// The mirror does not answer, or does not have the release.
    #[error("packages cannot be fetched from {mirror}: {message}")]
    Mirror {
        /// Its address.
        mirror: String,
        /// The tool's last words.
        message: String,
    },
    /// A program could not be started.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} failed: {message}")]
    Failed {
        /// The program.
        program: String,
        /// Its last words.
        message: String,
    },
    /// A program said nothing for too long.
    #[error("{program} has been silent for {seconds} s and was ended")]
    Hung {
        /// The program.
        program: String,
        /// How long.
        seconds: u64,
    },
    /// A file cannot be written, read, moved or removed.
    #[error("cannot work on {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The result lacks a part.
    #[error("the image at {path} lacks a part")]
    Incomplete {
        /// The part, or the image.
        path: PathBuf,
    },
}

impl BuildError {
    /// Tells a mirror that does not answer from everything else.
    pub(in crate::image) fn explain(self, mirror: &str) -> Self {
        let signs = [
            "Could not resolve",
            "Could not connect",
            "Failed to fetch",
            "Connection refused",
            "404  Not Found",
            "timed out",
        ];
        match self {
            BuildError::Failed { message, .. } if signs.iter().any(|sign| message.contains(sign)) => {
                BuildError::Mirror { mirror: mirror.to_owned(), message }
            }
            other => other,
        }
    }

    /// One sentence on what to do, where we know it.
    pub fn cure(&self) -> Option<String> {
        Some(match self {
            BuildError::NotRoot => "run the command as root (`sudo`), once: the image is kept".to_owned(),
            BuildError::NoTool { package, .. } => format!("apt-get install {package}"),
            BuildError::NoSpace { .. } => "free disk space, or choose another cache directory".to_owned(),
            BuildError::NoMirror => "name a mirror in the topology, at `spec.image.debian.mirror`".to_owned(),
            BuildError::Mirror { mirror, .. } => {
                format!("check that this machine reaches {mirror}, or name another mirror")
            }
            BuildError::Failed { message, .. } if message.contains("No space left") => {
                "free disk space, or choose another cache directory".to_owned()
            }
            BuildError::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free disk space, or choose another cache directory".to_owned()
            }
            _ => return None,
        })
    }
}

/// Runs a program to its end and tells each line it writes; its last lines become the error if it fails.
pub(in crate::image) async fn run(
    program: &str,
    command: &mut Command,
    listener: Listener<'_>,
) -> Result<(), BuildError> {
    let failed = |source| BuildError::Run { program: program.to_owned(), source };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    let stderr = child.stderr.take().expect("standard error was just made a pipe");
    let mut lines = BufReader::new(stderr).lines();
    let mut last: Vec<String> = Vec::new();
    loop {
        let Ok(line) = tokio::time::timeout(SILENCE, lines.next_line()).await else {
            let (program, seconds) = (program.to_owned(), SILENCE.as_secs());
            return Err(BuildError::Hung { program, seconds });
        };
        let Some(line) = line.map_err(failed)? else { break };
        listener(Progress::Detail(line.clone()));
        if last.len() == LAST_LINES {
            last.remove(0);
        }
        last.push(line);
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(BuildError::Failed { program: program.to_owned(), message: last.join("; ") })
}

/// Runs a program and gives back the text it writes.
pub(in crate::image) async fn output(program: &str, command: &mut Command) -> Result<String, BuildError> {
    Ok(String::from_utf8_lossy(&bytes(program, command).await?).into_owned())
}

/// Runs a program and gives back what it writes.
pub(in crate::image) async fn bytes(program: &str, command: &mut Command) -> Result<Vec<u8>, BuildError> {
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = run.map_err(|source| BuildError::Run { program: program.to_owned(), source })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(BuildError::Failed { program: program.to_owned(), message });
    }
    Ok(output.stdout)
}

/// Whether a program is found where root's programs are.
pub(in crate::image) fn is_installed(program: &str) -> bool {
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|dir| Path::new(dir).join(program).exists())
}

/// What is free for us on the file system of `path`.
pub(in crate::image) fn free_bytes(path: &Path) -> Result<u64, BuildError> {
    let stat =
        nix::sys::statvfs::statvfs(path).map_err(|e| BuildError::File { path: path.to_owned(), source: e.into() })?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// Writes a file with its parents.
pub(in crate::image) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), BuildError> {
    let written = (|| {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(path, bytes)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    })();
    written.map_err(|source| BuildError::File { path: path.to_owned(), source })
}

/// Removes a directory with all below it; one that is not there is removed already.
pub(in crate::image) fn remove_tree(path: &Path) -> Result<(), BuildError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(BuildError::File { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
