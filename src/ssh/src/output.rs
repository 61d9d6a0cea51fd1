//! What commands write: piece by piece as it comes, or all of it within a limit.

use std::fmt;
use std::io;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::SshError;
use crate::host::{Host, Script};

/// How much a command may write if all of it is kept: state dumps fit, a runaway does not fill our memory.
pub(crate) const OUTPUT_LIMIT: usize = 64 << 20;
/// Standard error of a failed command that is worth showing, in bytes.
const STDERR_TAIL: usize = 2000;

/// A piece of what a command writes; pieces end anywhere, also within a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Of standard output.
    Stdout(Bytes),
    /// Of standard error.
    Stderr(Bytes),
}

/// Takes what a command writes.
pub trait Sink: Send {
    /// Takes the next piece; the one after it comes when the future is done.
    ///
    /// # Errors
    /// Whatever keeps it from taking more, which ends the command.
    fn take(&mut self, piece: Piece) -> BoxFuture<'_, io::Result<()>>;
}

/// How a command came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Status(u32),
    /// By a signal, named without "SIG".
    Signal(String),
}

/// All that a script has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Ended {
    /// Whether the command says that all went well.
    pub fn is_success(&self) -> bool {
        *self == Self::Status(0)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Signal(name) => write!(f, "signal {name}"),
        }
    }
}

impl Output {
    /// Standard output as text, without white space at the end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Hands everything to a sink, as a host in memory does that knows all of it beforehand.
    ///
    /// # Errors
    /// [`SshError::Sink`] if the sink fails.
    pub async fn pour(self, host: &str, script: &Script, sink: &mut dyn Sink) -> Result<Ended, SshError> {
        for piece in [Piece::Stdout(self.stdout.into()), Piece::Stderr(self.stderr.into())] {
            sink.take(piece).await.map_err(|source| SshError::Sink {
                host: host.to_owned(),
                command: script.title().to_owned(),
                source,
            })?;
        }
        Ok(Ended::Status(0))
    }
}

/// Keeps everything, until it is more than there is room for.
struct Kept {
    output: Output,
    room: usize,
    full: bool,
}

impl Sink for Kept {
    fn take(&mut self, piece: Piece) -> BoxFuture<'_, io::Result<()>> {
        let (buffer, data) = match piece {
            Piece::Stdout(data) => (&mut self.output.stdout, data),
            Piece::Stderr(data) => (&mut self.output.stderr, data),
        };
        let kept = if let Some(room) = self.room.checked_sub(data.len()) {
            self.room = room;
            buffer.extend_from_slice(&data);
            Ok(())
        } else {
            self.full = true;
            Err(io::ErrorKind::FileTooLarge.into())
        };
        Box::pin(std::future::ready(kept))
    }
}

/// Runs a script and keeps all that it writes, which may be `most` bytes.
pub(crate) async fn collect<H: Host + ?Sized>(host: &H, script: &Script, most: usize) -> Result<Output, SshError> {
    let mut kept = Kept { output: Output::default(), room: most, full: false };
    let (name, command) = (host.name().to_owned(), script.title().to_owned());
    match host.stream(script, &mut kept).await {
        Ok(ended) if ended.is_success() => Ok(kept.output),
        Ok(ended) => {
            Err(SshError::Failed { host: name, command, status: ended.to_string(), stderr: tail(&kept.output.stderr) })
        }
        Err(SshError::Sink { .. }) if kept.full => Err(SshError::TooMuch { host: name, command, limit: most }),
        Err(error) => Err(error),
    }
}

fn tail(stderr: &[u8]) -> String {
    let from = stderr.len().saturating_sub(STDERR_TAIL);
    String::from_utf8_lossy(&stderr[from..]).trim().to_owned()
}
