//! kubelet: runs the pods of one node through the Container Runtime Interface.
//!
//! Pods come from a folder of files (static pods, which need no API server) and from the API. Each has one task that
//! compares what is wanted with what the runtime shows and acts on the difference; everything is driven by events of
//! the runtime, the API, the file system and probes. Timers are the lease of the node, and what no event tells: how full
//! disks, memory and logs are.
//!
//! Invariants: a restart of the kubelet restarts no container; a static pod never waits for an API server; nothing is
//! remembered that can be seen; a status is patched with the uid of its pod and can neither conflict nor hit a
//! successor; Secrets lie in memory file systems only. It never decides where a pod runs, never speaks to a runtime but
//! by CRI, and never touches the store.
//!
//! Read [`sync`] first, the story of a pod; then `pod/plan.rs` (what to do next), `pod/status.rs` (what to tell),
//! [`pods`] and [`sources`] (where pods come from). `app.rs` puts it all together.

pub mod api_cluster;
pub mod app;
pub mod bootstrap;
pub mod cgroup;
pub mod cluster;
pub mod config;
pub mod eviction;
pub mod image_gc;
pub mod log_file;
pub mod log_rotation;
pub mod node;
pub mod node_context;
pub mod paths;
pub mod pod;
pub mod pods;
pub mod probe;
pub mod runtime_events;
pub mod server;
pub mod sources;
pub mod status_writer;
pub mod sync;
pub mod volumes;

#[cfg(test)]
mod testing;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program; `args[0]` is its name.
pub fn main_with_args(args: Vec<OsString>) -> ExitCode {
    let args = match component_base::flags::parse::<config::Args>(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    component_base::logging::init(&args.logging);
    component_base::runtime::block_on("kubelet", async move {
        let config = config::Config::try_from(args)?;
        app::run(config, component_base::shutdown::signal_token()).await
    })
}
