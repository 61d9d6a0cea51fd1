//! What can be asked of a host.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::SshError;
use crate::output::{self, Ended, OUTPUT_LIMIT, Output, Sink};

/// A machine that runs our commands and takes our files.
pub trait Host: Send + Sync {
    /// The name of the machine, for progress and errors.
    fn name(&self) -> &str;

    /// Runs a script, hands what it writes to `sink` as it comes, and says how it ended.
    ///
    /// Not more than a few MiB are on their way: a sink that does not take what comes holds the script up, and with it
    /// whatever else goes over the same connection. Whoever drops the future ends the script, which gets SIGTERM.
    ///
    /// # Errors
    /// [`SshError::Sink`] if the sink fails: the script is ended. Another status than 0 is no error here.
    fn stream<'a>(&'a self, script: &'a Script, sink: &'a mut dyn Sink) -> BoxFuture<'a, Result<Ended, SshError>>;

    /// Runs a script and waits for its end; the same as [`Host::stream`] with all output in memory.
    ///
    /// # Errors
    /// [`SshError::Failed`] if it ends with anything but 0; the end of its standard error is in the error.
    /// [`SshError::TooMuch`] if it writes more than 64 MiB.
    fn run<'a>(&'a self, script: &'a Script) -> BoxFuture<'a, Result<Output, SshError>> {
        Box::pin(output::collect(self, script, OUTPUT_LIMIT))
    }

    /// Puts files in place, each at once and complete; those that are there already are left alone.
    fn upload<'a>(&'a self, files: &'a [File]) -> BoxFuture<'a, Result<Uploaded, SshError>>;
}

/// A POSIX shell script; it runs with `set -eu`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The text. Not for secrets: it is visible in the host's process list.
    pub text: String,
    /// What the script reads from standard input.
    pub stdin: Input,
    /// How long it may take.
    pub limit: Duration,
}

/// What a script reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A file of ours, which is never in memory as a whole.
    File(PathBuf),
}

/// A file for a host.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute path; missing directories are made.
    pub path: String,
    /// Permission bits, such as 0o600.
    pub mode: u32,
    /// The content.
    pub content: Bytes,
}

/// What an upload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// Paths that were written because they were missing or different.
    pub written: Vec<String>,
    /// Number of files that were there already.
    pub unchanged: usize,
}

/// Long enough for a package to be unpacked on a slow machine.
const DEFAULT_LIMIT: Duration = Duration::from_mins(5);

impl Script {
    /// A script without input.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), stdin: Input::Bytes(Bytes::new()), limit: DEFAULT_LIMIT }
    }

    /// The same script with something to read.
    #[must_use]
    pub fn with_stdin(mut self, stdin: impl Into<Bytes>) -> Self {
        self.stdin = Input::Bytes(stdin.into());
        self
    }

    /// The same script with a file of ours to read.
    #[must_use]
    pub fn with_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.stdin = Input::File(file.into());
        self
    }

    /// The same script with another time limit.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The first line, for messages.
    pub fn title(&self) -> &str {
        self.text.trim().lines().next().unwrap_or("")
    }
}

impl File {
    /// A file that everybody can read.
    pub fn public(path: impl Into<String>, content: impl Into<Bytes>) -> Self {
        Self { path: path.into(), mode: 0o644, content: content.into() }
    }

    /// A file that only root can read.
    pub fn secret(path: impl Into<String>, content: impl Into<Bytes>) -> Self {
        Self { path: path.into(), mode: 0o600, content: content.into() }
    }

    /// A program.
    pub fn program(path: impl Into<String>, content: impl Into<Bytes>) -> Self {
        Self { path: path.into(), mode: 0o755, content: content.into() }
    }
}

// The content may be a private key, so only its size is shown.
impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "File({} {:o} {} bytes)", self.path, self.mode, self.content.len())
    }
}

/// The text as one word of a shell command.
pub fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
