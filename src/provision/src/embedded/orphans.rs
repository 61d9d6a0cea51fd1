//! Processes that were left to us: a subreaper inherits what daemons of daemons leave behind, and takes leave of it.
//!
//! It matters: libvirt asks whether a QEMU has ended by looking at its process id, which a zombie keeps.

use nix::sys::prctl;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// Makes this process the parent of orphans below it.
pub(super) fn adopt() -> std::io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Takes leave of every child that has ended, except for those that somebody else waits for.
pub(super) fn bury(awaited: &[u32]) {
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    let me = std::process::id();
    for entry in processes.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let ended = || std::fs::read_to_string(entry.path().join("stat")).is_ok_and(|stat| is_zombie_of(&stat, me));
        if !awaited.contains(&pid) && ended() {
            // It has ended, so this returns at once; its status means nothing to us.
            let _ = waitpid(Pid::from_raw(pid.cast_signed()), Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// Reads `pid (name) state ppid …`; the name may hold anything, so the last parenthesis counts.
fn is_zombie_of(stat: &str, parent: u32) -> bool {
    let mut fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    fields.next() == Some("Z") && fields.next().and_then(|ppid| ppid.parse().ok()) == Some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ended_children_of_ours_are_buried() {
        assert!(is_zombie_of("7 (qemu-system-x86) Z 42 7 7 0", 42));
        assert!(is_zombie_of("7 (a) S 1 (b) Z 42 7", 42));
        assert!(!is_zombie_of("7 (qemu) S 42 7 7 0", 42));
        assert!(!is_zombie_of("7 (qemu) Z 1 7 7 0", 42));
        assert!(!is_zombie_of("", 42));
    }
}
