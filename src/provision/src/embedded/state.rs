//! Who is alive: the supervisor's state file, and the processes that live in its namespaces.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::layout::Layout;

/// How long processes may take to end when they are asked, and again when they are killed.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether they have: a process that is not our child gives no event.
const END_LOOK: Duration = Duration::from_millis(10);

/// What the supervisor writes down about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Its process id.
    pub(super) pid: i32,
    /// When it began, in ticks since the machine booted: process ids are used again.
    pub(super) started: u64,
    /// Which boot of the machine that was.
    pub(super) boot: String,
    /// The mark of its mount namespace; all processes in it are its own.
    pub(super) mark: String,
    /// What libvirt connects to.
    pub(super) uri: String,
}

impl State {
    /// The state of the calling process.
    pub(super) fn of_this_process(layout: &Layout, mark: &str) -> io::Result<Self> {
        let pid = nix::unistd::getpid().as_raw();
        let started = start_ticks(pid).ok_or_else(|| io::Error::other("/proc/self/stat cannot be read"))?;
        Ok(Self { pid, started, boot: boot_id()?, mark: mark.to_owned(), uri: layout.uri() })
    }

    /// What was written down, if it is of this boot.
    pub(super) fn read(layout: &Layout) -> Option<Self> {
        let state: Self = serde_json::from_slice(&std::fs::read(layout.state()).ok()?).ok()?;
        (state.boot == boot_id().ok()?).then_some(state)
    }

    /// Writes it down, whole or not at all.
    pub(super) fn write(&self, layout: &Layout) -> io::Result<()> {
        let draft = layout.state().with_extension("draft");
        std::fs::write(&draft, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(draft, layout.state())
    }

    /// Whether the supervisor still lives.
    pub(super) fn is_running(&self) -> bool {
        start_ticks(self.pid) == Some(self.started)
    }

    /// All processes in its mount namespace except the calling one.
    pub(super) fn members(&self) -> io::Result<Vec<i32>> {
        let me = nix::unistd::getpid().as_raw();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process that ends while we look is no member.
            let Ok(mounts) = std::fs::read_to_string(entry.path().join("mountinfo")) else { continue };
            if pid != me && has_mark(&mounts, &self.mark) {
                found.push(pid);
            }
        }
        Ok(found)
    }

    /// The members that run this program.
    pub(super) fn members_named(&self, program: &str) -> io::Result<Vec<i32>> {
        let is =
            |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == program);
        Ok(self.members()?.into_iter().filter(is).collect())
    }

    /// Ends all members: asked first, then killed; gone when this returns.
    pub(super) fn end_members(&self) -> io::Result<()> {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let deadline = Instant::now() + END_PATIENCE;
            let mut told = Vec::new();
            loop {
                let members = self.members()?;
                if members.is_empty() {
                    return Ok(());
                }
                for pid in members.iter().filter(|pid| !told.contains(*pid)) {
                    // It may have ended by itself.
                    let _ = kill(Pid::from_raw(*pid), signal);
                }
                told = members;
                if Instant::now() >= deadline {
                    break;
                }
                std::thread::sleep(END_LOOK);
            }
        }
        Err(io::Error::other("processes of the private libvirt daemon cannot be ended"))
    }
}

/// Whether a list of mounts has our file system at `/run`.
fn has_mark(mountinfo: &str, mark: &str) -> bool {
    mountinfo.lines().any(|line| {
        let mut fields = line.split(' ');
        fields.nth(4) == Some("/run") && line.split(" - ").nth(1).and_then(|rest| rest.split(' ').nth(1)) == Some(mark)
    })
}

/// When a process began; nothing if it is gone or only waits to be forgotten.
fn start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, also spaces and brackets: what follows the last bracket is regular.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_only_looked_for_where_it_is_put() {
        let line =
            |place: &str, source: &str| format!("36 35 98:0 / {place} rw,nosuid shared:1 - tmpfs {source} rw,mode=755");
        assert!(has_mark(&line("/run", "provision-a1"), "provision-a1"));
        assert!(!has_mark(&line("/run", "tmpfs"), "provision-a1"));
        assert!(!has_mark(&line("/mnt", "provision-a1"), "provision-a1"));
    }

    #[test]
    fn this_process_runs_and_process_zero_does_not() {
        assert!(start_ticks(nix::unistd::getpid().as_raw()).is_some());
        assert!(start_ticks(0).is_none());
    }

    #[test]
    fn a_state_of_another_boot_is_no_state() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let mut state = State::of_this_process(&layout, "provision-x").unwrap();
        state.write(&layout).unwrap();
        assert!(State::read(&layout).unwrap().is_running());
        state.boot = "other".into();
        state.write(&layout).unwrap();
        assert_eq!(State::read(&layout), None);
    }
}
