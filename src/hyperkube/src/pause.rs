//! `pause`: the first process of a pod. It holds the pod's namespaces, collects processes that lost
//! their parent, and ends when it is told to.

use std::ffi::OsString;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Runs until SIGINT or SIGTERM.
pub fn main_with_args(_args: Vec<OsString>) -> ExitCode {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD]);
    // Blocked signals wait for `wait`; that works for process 1 too, which has no default actions.
    if signals.thread_block().is_err() {
        return ExitCode::FAILURE;
    }
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => collect(),
            Ok(_) => return ExitCode::SUCCESS,
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

/// Collects every process that has ended; one signal may stand for several.
fn collect() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}
