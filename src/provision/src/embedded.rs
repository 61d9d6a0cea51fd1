//! A private libvirt daemon: no set-up, nothing on the host touched, gone with its cluster.
//!
//! A supervisor (this program again, see [`supervisor_main`]) takes a network and a mount namespace of its own
//! and keeps libvirtd and virtlogd in them. Bridges, leases and guests live inside; the host sees a directory,
//! a few processes, and the loopback ports it asked for. The supervisor outlives the run that started it and is
//! found again through its state file.
//!
//! Reading order: [`state`] (who is alive), [`namespace`] (what is private), [`daemons`], [`supervisor`].

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::image::lock;

mod control;
mod daemons;
mod forward;
pub mod kvm;
mod layout;
mod namespace;
mod netns;
mod orphans;
pub mod select;
mod state;
mod supervisor;

pub use layout::EmbeddedError;
pub(crate) use layout::driver;
pub use supervisor::supervisor_main;

use control::{Reply, Request};
use layout::Layout;
use state::State;

/// How long libvirtd may take to come up; it probes QEMU on the way.
const START_PATIENCE: Duration = Duration::from_mins(2);

/// How long a stop may take: guests are killed, not asked.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How a supervisor is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory that holds everything of this daemon; made if it is missing.
    pub dir: PathBuf,
    /// The program to run, usually this one.
    pub program: PathBuf,
    /// Its arguments before the directory: those that lead to [`supervisor_main`].
    pub arguments: Vec<OsString>,
}

/// A running private daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedHandle {
    /// What libvirt connects to.
    pub uri: String,
    /// The network namespace of the guests, as a file that can be entered.
    pub netns: PathBuf,
    /// The supervisor.
    pub pid: i32,
    dir: PathBuf,
}

impl EmbeddedHandle {
    fn of(dir: &Path, state: &State) -> Self {
        Self {
            uri: state.uri.clone(),
            netns: PathBuf::from(format!("/proc/{}/ns/net", state.pid)),
            pid: state.pid,
            dir: dir.to_owned(),
        }
    }
}

/// The daemon of this directory, if it runs.
pub fn find(dir: &Path) -> Option<EmbeddedHandle> {
    let state = State::read(&Layout::new(dir))?;
    state.is_running().then(|| EmbeddedHandle::of(dir, &state))
}

/// Whether this directory has, or had, a daemon that was not stopped.
fn state_exists(dir: &Path) -> bool {
    Layout::new(dir).state().exists()
}

/// Finds or starts the daemon of a directory and waits until it can be connected to.
///
/// Guests of a supervisor that was killed are taken over by the new one.
pub async fn start(options: &Options) -> Result<EmbeddedHandle, EmbeddedError> {
    let dir = std::path::absolute(&options.dir).map_err(EmbeddedError::file(&options.dir))?;
    let layout = Layout::new(&dir);
    layout.check()?;
    layout.create()?;
    let held = lock::take(&layout.start_lock(), || {}).await;
    let _held = held.map_err(EmbeddedError::file(&layout.start_lock()))?;
    if let Some(handle) = find(&dir) {
        return Ok(handle);
    }
    let log = std::fs::File::create(layout.supervisor_log()).map_err(EmbeddedError::file(&layout.supervisor_log()))?;
    let mut command = Command::new(&options.program);
    command.args(&options.arguments).arg(&dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).current_dir("/");
    let mut child = command.spawn().map_err(EmbeddedError::file(&options.program))?;
    let stdout = child.stdout.take().expect("standard output was just made a pipe");
    let mut line = String::new();
    let answer = tokio::time::timeout(START_PATIENCE, BufReader::new(stdout).read_line(&mut line)).await;
    let explain = |reason: &str| EmbeddedError::Start { reason: reason.to_owned(), log: layout.supervisor_log() };
    match answer {
        Ok(Ok(_)) if line.trim() == "ready" => find(&dir).ok_or_else(|| explain("it ended at once")),
        Ok(_) if line.trim().is_empty() => Err(explain("it ended without a word")),
        Ok(_) => Err(explain(line.trim())),
        Err(_) => {
            // It cannot have guests yet.
            let _ = child.kill().await;
            Err(explain("it was not ready in time"))
        }
    }
}

/// Ends the daemon of a directory with all its guests and removes what it left there.
///
/// Also cleans up after a supervisor that was killed. The directory itself goes if nothing else is in it.
pub async fn stop(dir: &Path) -> Result<(), EmbeddedError> {
    let dir = std::path::absolute(dir).map_err(EmbeddedError::file(dir))?;
    let layout = Layout::new(&dir);
    if let Some(state) = State::read(&layout) {
        if state.is_running() {
            let socket = layout.control();
            let asked = control::ask(&socket, &Request::Stop);
            // A supervisor that does not answer is ended like its guests.
            let _ = tokio::time::timeout(STOP_PATIENCE, asked).await;
        }
        let members = tokio::task::spawn_blocking(move || state.end_members()).await;
        members.map_err(|e| EmbeddedError::file(&dir)(io::Error::other(e)))?.map_err(EmbeddedError::file(&dir))?;
    }
    layout.remove().map_err(EmbeddedError::file(&dir))
}

/// Opens a connection to an address that only the guests' namespace can reach.
pub async fn connect_tcp(handle: &EmbeddedHandle, address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let namespace = std::fs::File::open(&handle.netns)?;
    let stream = netns::within(namespace, move || {
        let stream = std::net::TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    });
    TcpStream::from_std(stream.await?)
}

/// Has the supervisor pass connections to `listen`, on the host's loopback, to `target`, a guest.
///
/// Lasts as long as the supervisor, and is taken up again by its successor. Asking twice is asking once; port 0
/// takes a free one. Gives the address that listens.
pub async fn forward(
    handle: &EmbeddedHandle,
    listen: SocketAddr,
    target: SocketAddr,
) -> Result<SocketAddr, EmbeddedError> {
    let layout = Layout::new(&handle.dir);
    match control::ask(&layout.control(), &Request::Forward { listen, target }).await {
        Ok(Reply::Listening { address }) => Ok(address),
        Ok(Reply::Failed { reason }) => Err(EmbeddedError::Forward { listen, reason }),
        Ok(Reply::Stopping) => Err(EmbeddedError::Forward { listen, reason: "the daemon is stopping".into() }),
        Err(source) => Err(EmbeddedError::file(&layout.control())(source)),
    }
}

/// Where a port of the host's loopback leads, if it is passed on by the daemon in `dir`.
pub fn forwarded(dir: &Path, listen: SocketAddr) -> Option<SocketAddr> {
    let bytes = std::fs::read(Layout::new(dir).forwards()).ok()?;
    let list: Vec<(SocketAddr, SocketAddr)> = serde_json::from_slice(&bytes).ok()?;
    list.into_iter().find(|(at, _)| *at == listen).map(|(_, target)| target)
}

#[cfg(test)]
mod tests;
