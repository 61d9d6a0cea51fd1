//! Memory that is free goes back to the system.
//!
//! The C library keeps what a program has freed for what it asks for next, and one small piece that is still in use
//! holds all that was freed before it: after a thousand clients have left, a server is as large as it was with them.
//! Whoever frees much says so by [`freed`]; in the next quiet moment the pages that hold nothing are given back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

/// Less is not worth a walk over all that is free.
const WORTH: usize = 2 << 20;
/// What is freed at one time is given back at one time: this long nothing may be freed.
const QUIET: Duration = Duration::from_millis(100);
/// So many such moments are waited for; a server that is never quiet gives back all the same.
const PATIENCE: usize = 20;

static FREED: AtomicUsize = AtomicUsize::new(0);
static GIVING: AtomicBool = AtomicBool::new(false);

/// Says that about so many bytes were freed, in small pieces.
pub fn freed(bytes: usize) {
    let so_far = FREED.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
    if so_far < WORTH || GIVING.load(Ordering::Relaxed) {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    if !GIVING.swap(true, Ordering::Relaxed) {
        runtime.spawn(wait_and_give_back());
    }
}

async fn wait_and_give_back() {
    for _ in 0..PATIENCE {
        let seen = FREED.load(Ordering::Relaxed);
        tokio::time::sleep(QUIET).await;
        if FREED.load(Ordering::Relaxed) == seen {
            break;
        }
    }
    FREED.store(0, Ordering::Relaxed);
    GIVING.store(false, Ordering::Relaxed);
    // It takes milliseconds when much is free, which no request must wait for.
    let _ = tokio::task::spawn_blocking(give_back).await;
}

#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: it takes no pointer and may be called at any time from any thread.
    #[expect(unsafe_code, reason = "there is no other way to the allocator of the C library")]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use super::*;

    /// Resident memory in MiB.
    fn resident() -> usize {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap() / 1024
    }

    #[tokio::test]
    async fn what_is_freed_before_something_in_use_goes_back_to_the_system() {
        let mut pieces: Vec<Option<Box<[u8; 500]>>> = (0..200_000).map(|_| Some(Box::new([7; 500]))).collect();
        let full = resident();
        let pinned = pieces.last_mut().unwrap().take();
        drop(pieces);
        freed(100_000_000);
        // It was told in time: the moment of quiet, then the walk.
        let given_back = async {
            while resident() + 60 > full {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), given_back).await.expect("it is given back");
        drop(pinned);
    }
}
