//! kube-apiserver: the one door to the cluster's state.
//!
//! A request is read once ([`request_info`]), passes an ordered chain ([`filters`]: who is it, may they, is there
//! room), and ends in one of about a dozen verbs that work for every kind alike, driven by the rows of the
//! `api` crate. Objects live in etcd; every kind has a watch cache that answers reads with the bytes it keeps.
//!
//! # Invariants
//! - Only this crate talks to etcd, and every write is one guarded transaction.
//! - No verb knows a concrete kind: what differs stands in the table, in a strategy or in an admission plugin.
//! - A failure becomes HTTP in one place, `error.rs`.
//!
//! # Where to start reading
//! `filters.rs` for the way of a request, `verbs.rs` for what it may do, `registry.rs` for where objects are,
//! `admission.rs` for what is changed and checked on the way in.

pub mod filters;

pub mod fairness;

pub mod audit;
pub mod authn;
pub mod authz;
pub mod request_info;
pub mod user;

pub mod admission;
pub mod connect;
pub mod discovery;
pub mod openapi;
pub mod reviews;
pub mod token;
pub mod verbs;

pub mod encryption;
pub mod registry;
pub mod reloaded;
pub mod service_plumbing;
pub mod settings_file;
pub mod stored;

pub mod decode;
pub mod error;
pub mod negotiate;
pub mod present;
pub mod query;
pub mod reply;
pub mod table;

pub mod app;
pub mod authentication_info;
pub mod config;
pub mod data_store;
pub mod first_objects;
pub mod metrics;
pub mod stages;

use std::ffi::OsString;
use std::process::ExitCode;

use component_base::{flags, logging, runtime, shutdown};

/// Runs the program; `args[0]` is its name.
pub fn main_with_args(args: Vec<OsString>) -> ExitCode {
    let args: config::Args = match flags::parse(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    logging::init(&args.logging);
    runtime::block_on("kube-apiserver", async {
        let config = config::Config::try_from(args)?;
        config.tell_of_idle_flags();
        app::run(config, shutdown::signal_token()).await
    })
}
