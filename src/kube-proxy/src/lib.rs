//! kube-proxy: makes the virtual addresses of Services work on one node, with nftables.
//!
//! It follows Services, `EndpointSlices` and its own Node and keeps one nftables table a family.
//! Upstream's flags, configuration file, ports and health answers; the proxy mode is `nftables`.
//!
//! Invariants: a packet never meets a half-written table (one transaction a burst of changes); a
//! change of one Service costs as much as that Service, not as the cluster; open connections
//! survive every change. It never carries packets itself and never touches other tables.
//!
//! Read [`sync`] first, the story of one change; then [`rules`] (what one Service means) and
//! [`table`] (how one state becomes the next). [`node_routes`] stands apart: the way to the pods of other nodes. `service`, `endpoints`, `node` and `names` are the
//! vocabulary of those; the rest is start-up and health.

pub mod app;
pub mod changes;
pub mod config;
pub mod drift;
pub mod endpoints;
pub mod file;
pub mod fragment;
pub mod health;
pub mod health_ports;
pub mod host;
pub mod names;
pub mod node;
pub mod node_routes;
pub mod rules;
pub mod service;
pub mod sync;
pub mod table;
pub mod transaction;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program; `args[0]` is its name.
pub fn main_with_args(args: Vec<OsString>) -> ExitCode {
    let args = match component_base::flags::parse::<config::Args>(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    component_base::logging::init(&args.logging);
    component_base::runtime::block_on("kube-proxy", async move {
        let config = config::Config::try_from(args)?;
        app::run(config, component_base::shutdown::signal_token()).await
    })
}
