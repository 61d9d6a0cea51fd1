//! From arguments to an exit code.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use tokio_util::sync::CancellationToken;

use crate::cli;
use crate::config::{Cli, Config, with_implied_apply};
use crate::exit::{Exit, classify, hint};
use crate::progress::Format;

/// Runs the program; `args[0]` is its name.
pub fn main_with_args(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(with_implied_apply(args)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no mistake.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    log(cli.verbose);
    let output = cli.output;
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            report(&error, output);
            classify(&error).into()
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    if let crate::config::Command::EmbeddedSupervisor { args } = cli.command {
        // It unshares namespaces, which a process with threads may not.
        return crate::embedded::supervisor_main(args).map(|()| Exit::Done);
    }
    let config = Config::new(&cli)?;
    // The default provider of rustls; a second one would be a mistake of ours.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let token = CancellationToken::new();
        let signals = token.clone();
        tokio::spawn(async move {
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
            let terminated = async {
                match &mut terminate {
                    Some(stream) => stream.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated => {}
            }
            signals.cancel();
        });
        cli::run(cli.command, &config, &token).await
    })
}

fn log(verbose: u8) {
    let level = match verbose {
        0 => "off",
        1 => "provision=debug,ssh=debug,libvirt=debug",
        _ => "debug",
    };
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(level).finish();
    // Only the first subscriber counts, which matters to tests alone.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Says once what went wrong and, where it is known, what to do.
fn report(error: &anyhow::Error, output: Format) {
    let mut stderr = std::io::stderr().lock();
    // Nothing can be done about a standard error that does not take it.
    let _ = match output {
        Format::Json => {
            let line = serde_json::json!({ "error": format!("{error:#}"), "hint": hint(error), "exitCode": classify(error).code() });
            writeln!(stderr, "{line}")
        }
        Format::Text => writeln!(stderr, "error: {error:#}").and_then(|()| match hint(error) {
            Some(hint) => writeln!(stderr, "hint: {hint}"),
            None => Ok(()),
        }),
    };
}
