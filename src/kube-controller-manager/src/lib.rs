//! `kube-controller-manager`: the loops that bring what is into line with what was asked for.
//!
//! One list ([`controllers::CONTROLLERS`]) names the controllers, one file under `controllers/` holds each. A controller
//! observes through the shared stores, decides in a pure `plan` and acts through the API with an identity of its own.
//!
//! # Invariants
//! Only the leader acts. Every act starts from an event or one timer. A controller never acts on a view older than its
//! own last write (see `freshness.rs`). Whatever it does may be done twice.
//!
//! Reading order: `controllers.rs`, `stores.rs`, `scope.rs`, then any controller; `app.rs` starts it all.

mod app;
mod config;
pub mod controllers;
mod discovery;
mod freshness;
mod identity;
mod kinds;
mod ownership;
mod pod_control;
mod pods;
mod revisions;
mod scope;
mod stores;
mod template;
#[cfg(test)]
mod testing;

use std::ffi::OsString;
use std::process::ExitCode;

use component_base::{flags, logging, runtime};

/// Runs the program; `args[0]` is its name.
pub fn main_with_args(args: Vec<OsString>) -> ExitCode {
    let args = match flags::parse::<config::Args>(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    logging::init(&args.logging);
    runtime::block_on("kube-controller-manager", async { app::run(config::Config::try_from(args)?).await })
}
