//! What a run asks the supervisor, over a Unix socket: one line of JSON, one line back.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// No request and no reply is longer.
const LINE_MAX: u64 = 4096;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "request")]
pub(super) enum Request {
    /// Pass connections to a loopback address of the host on to a guest.
    Forward {
        /// The address on the host.
        listen: SocketAddr,
        /// The guest's.
        target: SocketAddr,
    },
    /// End everything. The connection closes when the supervisor has ended.
    Stop,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reply")]
pub(super) enum Reply {
    /// This address of the host listens.
    Listening {
        /// With the port that was chosen, if any would do.
        address: SocketAddr,
    },
    /// It is not possible.
    Failed {
        /// Why.
        reason: String,
    },
    /// The end has begun.
    Stopping,
}

/// Asks; after [`Request::Stop`] waits until the supervisor is gone.
pub(super) async fn ask(socket: &Path, request: &Request) -> io::Result<Reply> {
    let mut stream = BufReader::new(UnixStream::connect(socket).await?);
    send(stream.get_mut(), request).await?;
    let reply = receive(&mut stream).await?;
    if *request == Request::Stop {
        // The kernel closes the connection when the process ends: no need to look again and again.
        stream.read_to_end(&mut Vec::new()).await?;
    }
    Ok(reply)
}

/// Writes one line.
pub(super) async fn send<T: Serialize>(stream: &mut UnixStream, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Reads one line.
pub(super) async fn receive<T: for<'de> Deserialize<'de>>(stream: &mut BufReader<UnixStream>) -> io::Result<T> {
    let mut line = Vec::new();
    stream.take(LINE_MAX).read_until(b'\n', &mut line).await?;
    Ok(serde_json::from_slice(&line)?)
}
