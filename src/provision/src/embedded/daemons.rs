//! libvirtd and virtlogd in their namespaces: configured, started, watched, ended.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use inotify::{Inotify, WatchMask};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio_stream::StreamExt;

use super::layout::Layout;
use super::state::State;

const CONFIGURATION: [(&str, &str); 3] = [
    ("libvirtd.conf", include_str!("../../../../templates/libvirt/libvirtd.conf")),
    ("virtlogd.conf", include_str!("../../../../templates/libvirt/virtlogd.conf")),
    ("qemu.conf", include_str!("../../../../templates/libvirt/qemu.conf")),
];

/// How long a daemon may take to open its socket.
const SOCKET_PATIENCE: Duration = Duration::from_mins(1);

/// How long libvirtd may take to end by itself.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// A socket that is there may not listen yet for the blink of an eye.
const LISTEN_LOOK: Duration = Duration::from_millis(5);

/// The two daemons.
pub(super) struct Daemons {
    libvirtd: Child,
    /// Not a child if an earlier supervisor started it: consoles would break if it were replaced.
    virtlogd: Option<Child>,
}

impl Daemons {
    /// Starts what does not run and waits until libvirtd's socket listens.
    pub(super) async fn start(layout: &Layout, earlier: Option<&State>) -> io::Result<Self> {
        for (name, text) in CONFIGURATION {
            std::fs::write(layout.dir.join("etc").join(name), text)?;
        }
        let named = |program: &str| earlier.map_or(Ok(Vec::new()), |state| state.members_named(program));
        let virtlogd = if named("virtlogd")?.is_empty() { Some(start_virtlogd(layout).await?) } else { None };
        for pid in named("libvirtd")? {
            kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        }
        let libvirtd = start_libvirtd(layout).await?;
        Ok(Self { libvirtd, virtlogd })
    }

    /// The process ids of those that are waited for here.
    pub(super) fn pids(&self) -> Vec<u32> {
        let virtlogd = self.virtlogd.as_ref().and_then(Child::id);
        self.libvirtd.id().into_iter().chain(virtlogd).collect()
    }

    /// Waits until libvirtd ends by itself.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.libvirtd.wait().await
    }

    /// Starts libvirtd again after it has ended; guests go on meanwhile.
    pub(super) async fn restart(&mut self, layout: &Layout) -> io::Result<()> {
        self.libvirtd = start_libvirtd(layout).await?;
        Ok(())
    }

    /// Ends both.
    pub(super) async fn stop(&mut self) {
        for child in [Some(&mut self.libvirtd), self.virtlogd.as_mut()].into_iter().flatten() {
            if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
                // It may have ended by itself.
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            if tokio::time::timeout(END_PATIENCE, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
    }
}

async fn start_virtlogd(layout: &Layout) -> io::Result<Child> {
    start(layout, "/usr/sbin/virtlogd", "/etc/libvirt/virtlogd.conf", "virtlogd-sock").await
}

async fn start_libvirtd(layout: &Layout) -> io::Result<Child> {
    start(layout, "/usr/sbin/libvirtd", "/etc/libvirt/libvirtd.conf", "libvirt-sock").await
}

async fn start(layout: &Layout, program: &str, configuration: &str, socket: &str) -> io::Result<Child> {
    let run = layout.dir.join("run");
    let socket = run.join(socket);
    // The socket of a daemon that was killed would look like that of the new one.
    let _ = std::fs::remove_file(&socket);
    let watch = Inotify::init()?;
    watch.watches().add(&run, WatchMask::CREATE)?;
    let mut command = Command::new(program);
    command.args(["--config", configuration]).stdin(Stdio::null()).stdout(Stdio::null());
    // libvirt would take the answers of a system daemon's bus for its own.
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8");
    let mut child = command.spawn()?;
    let ready = tokio::time::timeout(SOCKET_PATIENCE, listening(watch, &socket));
    let failed = tokio::select! {
        ready = ready => match ready {
            Ok(Ok(())) => return Ok(child),
            Ok(Err(e)) => e.to_string(),
            Err(_) => "its socket does not listen".to_owned(),
        },
        status = child.wait() => format!("it ended with {}", status?),
    };
    let _ = child.kill().await;
    Err(io::Error::other(format!("{program}: {failed}")))
}

/// Waits until the socket is there and listens.
async fn listening(watch: Inotify, socket: &Path) -> io::Result<()> {
    let mut events = watch.into_event_stream(vec![0; 4096])?;
    loop {
        match UnixStream::connect(socket).await {
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => tokio::time::sleep(LISTEN_LOOK).await,
            Err(_) => {
                events.next().await.transpose()?;
            }
        }
    }
}
