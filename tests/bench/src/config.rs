//! What is measured, how often and on which binaries.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};

use crate::subject::SELF;

/// How the report looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table.
    Text,
    /// One JSON object.
    Json,
}

/// The arguments.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench", about = "Measures our kube-apiserver beside upstream's, as ratios")]
pub struct Config {
    /// Our kube-apiserver; this program itself if none is named.
    #[arg(long, env = "KUBE_APISERVER")]
    ours: Option<PathBuf>,
    /// Upstream's kube-apiserver; without it, only ours is measured.
    #[arg(long, env = "PEER_KUBE_APISERVER")]
    peer: Option<PathBuf>,
    /// The etcd both stand on.
    #[arg(long, env = "PEER_ETCD", default_value = "etcd")]
    pub etcd: PathBuf,
    /// How often each side is measured; the report shows the best round of each.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Single operations of each sort.
    #[arg(long, default_value_t = 4000)]
    pub operations: usize,
    /// Objects in a list.
    #[arg(long, default_value_t = 10_000)]
    pub objects: usize,
    /// Bytes of data in an object, beside its metadata.
    #[arg(long, default_value_t = 700)]
    pub size: usize,
    /// How many watch at once.
    #[arg(long, default_value_t = 1000)]
    pub watchers: usize,
    /// Connections the watchers share.
    #[arg(long, default_value_t = 10)]
    pub connections: usize,
    /// Events each watcher gets.
    #[arg(long, default_value_t = 300)]
    pub events: usize,
    /// Lists of each sort.
    #[arg(long, default_value_t = 10)]
    pub lists: usize,
    /// Seconds of doing nothing.
    #[arg(long, default_value_t = 20)]
    idle: u64,
    /// Measures next to nothing, to show that all of it works.
    #[arg(long)]
    smoke: bool,
    /// Which measurements to take, by the first word of their name; all if none is named.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// How the report looks.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Keeps the logs of the servers in this folder.
    #[arg(long)]
    pub logs: Option<PathBuf>,
}

impl Config {
    /// Reads the arguments.
    ///
    /// # Errors
    /// If they make no sense.
    pub fn try_parse_from(args: Vec<OsString>) -> Result<Self, clap::Error> {
        let config = <Self as Parser>::try_parse_from(args)?;
        if !config.smoke {
            return Ok(config);
        }
        Ok(Self {
            rounds: 1,
            operations: 20,
            objects: 40,
            watchers: 6,
            connections: 2,
            events: 5,
            lists: 2,
            idle: 0,
            ..config
        })
    }

    /// How long the servers are left alone.
    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.idle)
    }

    /// Whether a measurement is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// The command that starts our server.
    ///
    /// # Errors
    /// If this program does not know where it is.
    pub fn ours(&self) -> anyhow::Result<Vec<OsString>> {
        if let Some(binary) = &self.ours {
            return Ok(vec![binary.into()]);
        }
        let own = std::env::current_exe().context("cannot find this program")?;
        Ok(vec![own.into(), SELF.into()])
    }

    /// The command that starts upstream's server, or why it is left out.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn peer(&self) -> Result<OsString, String> {
        match &self.peer {
            None => Err("upstream's kube-apiserver: PEER_KUBE_APISERVER names no binary".to_owned()),
            Some(binary) if !binary.is_file() => {
                Err(format!("upstream's kube-apiserver: {} does not exist", binary.display()))
            }
            Some(binary) => Ok(binary.into()),
        }
    }
}
