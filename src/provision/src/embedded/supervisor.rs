//! The process that keeps a private daemon alive, passes ports on, and clears up.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;
use tokio::io::BufReader;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

use super::control::{self, Reply, Request};
use super::daemons::Daemons;
use super::forward::Forwards;
use super::layout::Layout;
use super::state::State;
use super::{kvm, namespace, orphans};
use crate::image::lock;

/// The first pause before libvirtd is started again; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// Runs a supervisor; the one argument is its directory.
///
/// Says `ready` on standard output when libvirtd can be connected to, or says why not and ends. The calling
/// process must have only one thread and must not be needed for anything else: its namespaces change.
pub fn supervisor_main(arguments: Vec<OsString>) -> anyhow::Result<()> {
    let ended = match <[OsString; 1]>::try_from(arguments) {
        Ok([dir]) => run(&PathBuf::from(dir)),
        Err(_) => Err(io::Error::other("one argument is needed: the directory")),
    };
    if let Err(error) = &ended {
        say(&error.to_string());
    }
    Ok(ended?)
}

/// Tells the one who started us.
fn say(word: &str) {
    // It may be gone.
    let _ = writeln!(io::stdout(), "{word}");
}

fn run(dir: &Path) -> io::Result<()> {
    // The terminal's signals are for the one who started us. Fails if we lead a session already.
    let _ = nix::unistd::setsid();
    // Daemons of daemons (dnsmasq) become our children when their parent ends, and do not stay behind as zombies.
    orphans::adopt()?;
    let layout = Layout::new(dir);
    let Some(_life) = lock::try_take(&layout.life_lock())? else {
        return Err(io::Error::other("another supervisor lives in this directory"));
    };
    let host = File::open("/proc/self/ns/net")?;
    let earlier = State::read(&layout);
    let mark = take_namespaces(&layout, earlier.as_ref())?;
    let state = State::of_this_process(&layout, &mark)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ended = supervise(&layout, &state, host).await;
        state.end_members()?;
        orphans::bury(&[]);
        ended
    })
}

/// Joins the guests of an earlier supervisor, or takes new namespaces; gives their mark.
fn take_namespaces(layout: &Layout, earlier: Option<&State>) -> io::Result<String> {
    if let Some(state) = earlier
        && let Some(member) = state.members()?.first()
    {
        namespace::join(*member).map_err(io::Error::other)?;
        return Ok(state.mark.clone());
    }
    let mark = format!("provision-{:016x}", rand::rng().random::<u64>());
    // A runtime of its own, which has ended when namespaces are taken: they belong to the only thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let hide_kvm = !runtime.block_on(kvm::probe()).is_usable();
    drop(runtime);
    namespace::create(layout, &mark, hide_kvm).map_err(io::Error::other)?;
    let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    if !up.success() {
        return Err(io::Error::other("the loopback interface cannot be set up"));
    }
    Ok(mark)
}

async fn supervise(layout: &Layout, state: &State, host: File) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut children = signal(SignalKind::child())?;
    let mut daemons = Daemons::start(layout, Some(state)).await?;
    let mut forwards = Forwards::new(host, &layout.forwards());
    forwards.restore().await;
    let _ = std::fs::remove_file(layout.control());
    let control = UnixListener::bind(layout.control())?;
    state.write(layout)?;
    say("ready");
    let mut pause = FIRST_PAUSE;
    let asked = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = children.recv() => orphans::bury(&daemons.pids()),
            accepted = control.accept() => {
                let (stream, _) = accepted?;
                if let Some(asked) = serve(stream, &mut forwards).await {
                    break Some(asked);
                }
            }
            status = daemons.ended() => {
                // Standard error is our log.
                let _ = writeln!(io::stderr(), "libvirtd ended with {}, starting it again", status?);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
                daemons.restart(layout).await?;
            }
        }
    };
    daemons.stop().await;
    // The connection that asked closes with this process, which tells that all is over.
    std::mem::forget(asked);
    Ok(())
}

/// Answers one request; gives the connection back if it asks for the end.
async fn serve(stream: UnixStream, forwards: &mut Forwards) -> Option<UnixStream> {
    let mut stream = BufReader::new(stream);
    let patience = Duration::from_secs(5);
    let request = tokio::time::timeout(patience, control::receive(&mut stream)).await.ok()?.ok()?;
    let reply = match request {
        Request::Forward { listen, target } => forwards.answer(listen, target).await,
        Request::Stop => Reply::Stopping,
    };
    // Whoever asked may have gone.
    let _ = control::send(stream.get_mut(), &reply).await;
    (request == Request::Stop).then(|| stream.into_inner())
}
