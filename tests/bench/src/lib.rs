//! Measures our kube-apiserver beside upstream's: same etcd, same machine, alternating in one run, as ratios.
//!
//! What is measured first is the CPU time of the server per operation and its memory: both are steady on machines
//! whose clock is not. Traffic stays on loopback, loops are bounded, and only processes started here are ended.
//!
//! Start at [`measures`], the list of what is measured; `subject.rs` starts the servers, `client.rs` talks to them,
//! `report.rs` prints what came out.

pub mod client;
pub mod config;
pub mod goals;
pub mod measures;
pub mod objects;
pub mod process;
pub mod report;
pub mod subject;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;

use config::Config;
use report::Report;
use subject::{Credentials, Side, Subject};

/// Runs the program; `args[0]` is its name.
pub fn main_with_args(args: Vec<OsString>) -> ExitCode {
    let config = match Config::try_parse_from(args) {
        Ok(config) => config,
        Err(error) => error.exit(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.context("cannot start the runtime").and_then(|runtime| runtime.block_on(run(&config)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Measures every side in turn, as often as asked for, and prints the report.
async fn run(config: &Config) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let credentials = Credentials::make()?;
    let mut sides = vec![(Side::Ours, config.ours()?)];
    let mut report = Report::new(config);
    match config.peer() {
        Ok(binary) => sides.push((Side::Peer, vec![binary])),
        Err(reason) => report.skip(reason),
    }
    for round in 1..=config.rounds {
        for (side, program) in &sides {
            report::progress(format_args!("round {round} of {}: {side}", config.rounds));
            let subject = Subject::start(*side, program, config, &credentials).await;
            let mut subject = subject.with_context(|| format!("{side} does not start"))?;
            let measured = measures::all(&mut subject, config).await;
            report.take(*side, measured.with_context(|| format!("measuring {side}"))?);
            subject.stop()?;
        }
    }
    report.print(config.output);
    Ok(())
}
