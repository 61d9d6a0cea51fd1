//! Logging: `tracing` to standard error, with Kubernetes' verbosity flag.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// The logging flags all programs share; `#[command(flatten)]` them.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LoggingArgs {
    /// Log verbosity: 0-3 shows what an operator needs, 4-5 decisions, 6 and more requests.
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 0)]
    pub verbosity: u8,
    /// Format of log lines.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub logging_format: LogFormat,
}

/// Starts logging for the process; a second call changes nothing.
pub fn init(args: &LoggingArgs) {
    let level = level(args.verbosity);
    // Libraries stay one step quieter: their debug lines describe frames and spans, not Kubernetes.
    let quiet = if level >= Level::TRACE { Level::DEBUG } else { Level::WARN };
    let targets = ["hyper", "hyper_util", "h2", "rustls", "tower", "tonic", "kube_client"]
        .into_iter()
        .fold(Targets::new().with_default(LevelFilter::from_level(level)), |targets, name| {
            targets.with_target(name, quiet)
        })
        // Who makes a request says what became of it; a failed connection need not be said twice.
        .with_target("kube_client::client::builder", LevelFilter::OFF);
    let registry = tracing_subscriber::registry().with(targets);
    let layer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let outcome = match args.logging_format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
    if outcome.is_err() {
        tracing::debug!("logging was started before");
    }
}

fn level(verbosity: u8) -> Level {
    match verbosity {
        0..=3 => Level::INFO,
        4..=5 => Level::DEBUG,
        _ => Level::TRACE,
    }
}
