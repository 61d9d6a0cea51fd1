//! The way to machines behind a host that is reached by SSH, such as a libvirt daemon's or a bastion: we go through it with
//! OpenSSH, which stays when we end.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncWrite, Join, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

use crate::exit::{Exit, Refusal};

/// How long the way to the daemon's host may take to stand.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a port that nobody listens on yet is tried: `ssh` says nothing when it listens.
const RETRY: Duration = Duration::from_millis(50);

/// Nobody is there to be asked.
const BASICS: [&str; 3] = ["-T", "-oBatchMode=yes", "-oConnectTimeout=10"];

/// A port here that leads to an address behind a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forward {
    /// Where clients connect.
    pub(crate) listen: SocketAddr,
    /// Where they come out.
    pub(crate) target: SocketAddr,
}

impl Forward {
    /// Whether the process that `mark` names still passes connections on, and to where they shall go.
    pub(crate) fn stands(&self, mark: &Path) -> bool {
        forwarder(mark).is_some_and(|(_, way)| way == self.way())
    }

    /// As `ssh -L` wants it.
    fn way(&self) -> String {
        format!("{}:{}", self.listen, self.target)
    }
}

/// A host that is gone through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    command: String,
    arguments: Vec<String>,
}

impl Remote {
    /// A host with what `ssh` must be told to get there.
    pub(crate) fn new(options: impl IntoIterator<Item = String>, host: &str) -> Self {
        let mut arguments: Vec<String> = BASICS.iter().map(|&word| word.to_owned()).collect();
        arguments.extend(options);
        arguments.push(host.to_owned());
        Self { command: "ssh".to_owned(), arguments }
    }

    /// The host of an address such as `qemu+ssh://root@host:22/system?keyfile=…`; nothing if it is not reached by SSH.
    pub(crate) fn parse(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix("qemu+ssh://")?;
        let (authority, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = authority.split_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
            _ => (host, None),
        };
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        let parameter =
            |name: &str| query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
        let mut arguments: Vec<String> = BASICS.iter().map(|&word| word.to_owned()).collect();
        let mut option = |flag: &str, value: Option<&str>| {
            if let Some(value) = value {
                arguments.extend([flag.to_owned(), value.to_owned()]);
            }
        };
        option("-l", user);
        option("-p", port);
        option("-i", parameter("keyfile").map(|(_, value)| value));
        if parameter("no_verify").is_some_and(|(_, value)| value == "1") {
            option("-o", Some("StrictHostKeyChecking=no"));
        }
        arguments.push(host.trim_matches(['[', ']']).to_owned());
        let command = parameter("command").map_or("ssh", |(_, value)| value).to_owned();
        Some(Self { command, arguments })
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(&self.command);
        command.args(options).args(&self.arguments);
        command
    }

    /// A connection to an address that the daemon's host reaches.
    pub(crate) fn dial(&self, address: SocketAddr) -> Result<Tunnelled> {
        let mut command = self.command(&["-W", &address.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot run {}", self.command))?;
        let output = child.stdout.take().context("standard output was just made a pipe")?;
        let input = child.stdin.take().context("standard input was just made a pipe")?;
        Ok(Tunnelled { stream: tokio::io::join(output, input), _child: child })
    }

    /// Passes connections on for as long as the cluster lives; `mark` remembers who does it.
    pub(crate) async fn forward(&self, forward: &Forward, mark: &Path) -> Result<()> {
        if forward.stands(mark) {
            return Ok(());
        }
        end_forward(mark);
        let (listen, way) = (forward.listen, forward.way());
        let mut command = self.command(&["-N", "-oExitOnForwardFailure=yes", "-oServerAliveInterval=15", "-L", &way]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot run {}", self.command))?;
        let pid = child.id().context("it was just started")?;
        let mark_text = format!("{pid} {} {way}", started(pid).unwrap_or_default());
        crate::state::write_private(mark, mark_text.as_bytes())?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().context("cannot look after ssh")? {
                let message = format!("{listen} cannot be passed on by way of SSH: ssh ended with {status}");
                return Err(Refusal::new(Exit::Host, message)
                    .hint(format!(
                        "see what `{} {}` says, and who uses the port",
                        self.command,
                        self.arguments.join(" ")
                    ))
                    .into());
            }
            if tokio::net::TcpStream::connect(listen).await.is_ok() {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "ssh does not listen on {listen} after {PATIENCE:?}");
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// A loopback port that nobody listens on now and that is none of `taken`.
pub(crate) fn free_port(taken: &[u16]) -> Result<u16> {
    // What is held until we have found one is not found again.
    let mut held = Vec::new();
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no loopback port is free")?;
        let port = listener.local_addr()?.port();
        if !taken.contains(&port) {
            return Ok(port);
        }
        held.push(listener);
    }
}

/// Ends the process that `mark` names.
pub(crate) fn end_forward(mark: &Path) {
    if let Some((pid, _)) = forwarder(mark) {
        // It may have ended by itself.
        let _ = kill(pid, Signal::SIGTERM);
    }
    // It may never have been made.
    let _ = std::fs::remove_file(mark);
}

/// The process that `mark` names, if it runs, and the way that it keeps.
fn forwarder(mark: &Path) -> Option<(Pid, String)> {
    let text = std::fs::read_to_string(mark).ok()?;
    let mut words = text.split_whitespace();
    let pid: u32 = words.next()?.parse().ok()?;
    let (since, way) = (words.next()?, words.next().unwrap_or_default());
    (started(pid)? == since).then(|| (Pid::from_raw(pid.cast_signed()), way.to_owned()))
}

/// When a process began, in ticks since the machine booted; process ids are used again.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" { None } else { fields.nth(18).map(str::to_owned) }
}

/// A connection that a process carries; it ends with us.
pub(crate) struct Tunnelled {
    stream: Join<ChildStdout, ChildStdin>,
    _child: Child,
}

impl AsyncRead for Tunnelled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(task, buffer)
    }
}

impl AsyncWrite for Tunnelled {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, expected: Option<&str>) {
        let remote = Remote::parse(uri).map(|remote| format!("{} {}", remote.command, remote.arguments[3..].join(" ")));
        assert_eq!(remote.as_deref(), expected, "{uri}");
    }

    #[test]
    fn the_host_of_a_daemon_is_read_from_its_address() {
        check("qemu:///system", None);
        check("qemu+unix:///system?socket=/x", None);
        check("qemu+ssh://host/system", Some("ssh host"));
        check("qemu+ssh://me@host:2222/system", Some("ssh -l me -p 2222 host"));
        check("qemu+ssh://me@[fd00::1]/system?socket=/x&keyfile=/k", Some("ssh -l me -i /k fd00::1"));
        check(
            "qemu+ssh://host/system?command=/bin/my-ssh&no_verify=1",
            Some("/bin/my-ssh -o StrictHostKeyChecking=no host"),
        );
    }

    #[test]
    fn a_mark_of_a_process_that_is_no_more_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("tunnel");
        let forward = Forward { listen: ([127, 0, 0, 1], 6443).into(), target: ([10, 0, 0, 2], 6443).into() };
        assert!(!forward.stands(&mark));
        let me = std::process::id();
        std::fs::write(&mark, format!("{me} 1 {}", forward.way())).unwrap();
        assert!(!forward.stands(&mark), "another process had this number");
        std::fs::write(&mark, format!("{me} {} {}", started(me).unwrap(), forward.way())).unwrap();
        assert!(forward.stands(&mark));
        let elsewhere = Forward { target: ([10, 0, 0, 3], 6443).into(), ..forward };
        assert!(!elsewhere.stands(&mark), "a balancer came: the port must lead there");
        std::fs::write(&mark, "nonsense").unwrap();
        end_forward(&mark);
        assert!(!mark.exists());
    }
}
