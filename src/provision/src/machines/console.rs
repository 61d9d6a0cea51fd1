//! What a machine says on its serial console, which the hypervisor writes to a file: a channel that nobody
//! else can write to, and therefore the place to learn an SSH host key from.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use inotify::{Inotify, WatchMask};
use tokio_stream::StreamExt;

const BEGIN: &str = "-----BEGIN PROVISION HOST KEY-----";
const END: &str = "-----END PROVISION HOST KEY-----";

/// How many of the console's last lines an error shows.
const LAST_LINES: usize = 15;

/// The host key was not learnt.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The machine did not say it in time.
    #[error("no SSH host key on the console {path} after {seconds} s; it ends with:\n{tail}")]
    Silent {
        /// The console's file.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
        /// The console's last lines.
        tail: String,
    },
    /// The file cannot be read or watched.
    #[error("cannot read the console {path}")]
    File {
        /// The console's file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Waits until the machine has told its host key, as `ssh-ed25519 AAAA…`.
pub async fn host_key(log: &Path, patience: Duration) -> Result<String, ConsoleError> {
    let file = |source| ConsoleError::File { path: log.to_owned(), source };
    if let Ok(key) = tokio::time::timeout(patience, wait(log)).await {
        return key.map_err(file);
    }
    let tail = tail(&read(log).map_err(file)?);
    Err(ConsoleError::Silent { path: log.to_owned(), seconds: patience.as_secs(), tail })
}

async fn wait(log: &Path) -> io::Result<String> {
    let dir = log.parent().ok_or_else(|| io::Error::other("the console has no directory"))?;
    let watch = Inotify::init()?;
    // The directory, because the file may not be there yet and may be replaced when it has grown.
    watch.watches().add(dir, WatchMask::CREATE | WatchMask::MODIFY | WatchMask::MOVED_TO)?;
    let mut events = watch.into_event_stream(vec![0; 4096])?;
    loop {
        if let Some(key) = find(&read(log)?) {
            return Ok(key);
        }
        loop {
            let event = events.next().await.transpose()?;
            let ours =
                event.is_none_or(|event| event.name.is_none_or(|name| Some(name.as_os_str()) == log.file_name()));
            if ours {
                break;
            }
        }
    }
}

/// The key that was told last; nothing if it was told only in part, or not as a key.
pub(crate) fn find(console: &str) -> Option<String> {
    let (_, rest) = console.rsplit_once(BEGIN)?;
    let (inside, _) = rest.split_once(END)?;
    inside.lines().map(str::trim).find(|line| is_key(line)).map(str::to_owned)
}

/// Whether a line is a whole Ed25519 key: a message of the kernel in its midst would show.
fn is_key(line: &str) -> bool {
    let Some((kind @ "ssh-ed25519", key)) = line.split_once(' ') else { return false };
    let Ok(bytes) = STANDARD.decode(key) else { return false };
    let head = [&11_u32.to_be_bytes()[..], kind.as_bytes(), &32_u32.to_be_bytes()].concat();
    bytes.starts_with(&head) && bytes.len() == head.len() + 32
}

fn read(log: &Path) -> io::Result<String> {
    match std::fs::read(log) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(e),
    }
}

/// The last lines of a console.
pub fn tail(console: &str) -> String {
    let lines: Vec<&str> = console.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

#[cfg(test)]
mod tests;
