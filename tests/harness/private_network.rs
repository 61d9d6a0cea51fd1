//! A network of a test's own: nothing in it reaches anybody outside, and it goes with the last process that is in it.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Runs a test in a network that has only itself and some addresses; says aloud why this machine cannot make one.
///
/// What the test starts is in that network too.
///
/// # Panics
/// When the test does.
pub fn in_private_network<F>(addresses: &'static [&'static str], test: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    let thread = std::thread::spawn(move || {
        if let Err(reason) = enter(addresses) {
            eprintln!("skipped: no network namespace can be made: {reason}");
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime needs no more than a thread has").block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn enter(addresses: &[&str]) -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| error.to_string())?;
    ip(&["link", "set", "lo", "up"])?;
    addresses.iter().try_for_each(|address| ip(&["address", "add", address, "dev", "lo"]))
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output().map_err(|error| format!("ip: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(()).ok_or_else(|| format!("ip {}: {told}", args.join(" ")))
}
