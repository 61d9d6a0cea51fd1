//! kube-scheduler: chooses a node for every pod that has none.
//!
//! Upstream's flags, configuration file, plugin names, scores and words. It follows Pods and Nodes,
//! decides in one thread on a picture of the cluster that includes its own decisions not yet
//! written, and writes bindings in the background.
//!
//! Invariants: deciding is pure ([`cycle`], every plugin, [`queue`]); a decision costs no request to
//! the API server; a pod that cannot be placed waits for an event that may help it, not for a
//! timer. It never changes a pod but through `binding` and its own condition.
//!
//! Read [`plugins`] first (the list of what is considered), then [`cycle`] (filter, score, choose),
//! [`snapshot`] (what is), [`queue`] (what waits) and [`scheduler`] (the loop around them).

pub mod app;
pub mod bind;
pub mod config;
pub mod cycle;
pub mod node;
pub mod plugins;
pub mod pod;
pub mod queue;
pub mod resources;
pub mod scheduler;
pub mod selector;
pub mod snapshot;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program; `args[0]` is its name.
pub fn main_with_args(args: Vec<OsString>) -> ExitCode {
    let args = match component_base::flags::parse::<config::Args>(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    component_base::logging::init(&args.logging);
    component_base::runtime::block_on("kube-scheduler", async move {
        let config = config::Config::try_from(args)?;
        app::run(config, component_base::shutdown::signal_token()).await
    })
}
