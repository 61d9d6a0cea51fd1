//! Arguments of the verbs that change a cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::world::Drain;

/// How to wait for another run on the same cluster.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Waiting {
    /// If another run holds the cluster, wait this long for its end (such as 90s or 10m) instead of refusing at once.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s", hide_default_value = true)]
    pub wait_lock: Duration,
}

/// How the Nodes of machines that go are emptied; the names are those of `kubectl drain` and Cluster API.
#[derive(Clone, Copy, Debug, Args)]
pub struct Draining {
    /// How long the pods of a Node that goes may take to move (such as 90s or 10m); 0s is for ever.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    pub drain_timeout: Duration,
    /// Remove a machine with the pods that nothing starts elsewhere and those that have not moved after --drain-timeout.
    #[arg(long)]
    pub force: bool,
}

impl From<Draining> for Drain {
    fn from(draining: Draining) -> Self {
        Self { patience: draining.drain_timeout, force: draining.force }
    }
}

/// Arguments of `apply`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  provision apply topologies/single-node.yaml
  provision topologies/single-node.yaml           the same
  provision apply - < cluster.yaml                read it from standard input
  provision plan cluster.yaml --out change.plan && provision apply --plan change.plan
  provision apply cluster.yaml --yes              also remove machines, without being asked

Changes that remove or replace a machine ask first.
Run it again after a failure: it goes on from where it is.")]
pub struct ApplyArgs {
    /// The topology file; `-` for standard input.
    #[arg(required_unless_present = "plan")]
    pub file: Option<PathBuf>,
    /// Carry out exactly this plan, as `provision plan --out` wrote it, or refuse.
    #[arg(long, value_name = "PLANFILE", conflicts_with = "file")]
    pub plan: Option<PathBuf>,
    /// Do not ask before machines are removed, or made anew that are lost.
    #[arg(long, short)]
    pub yes: bool,
    /// Write a timeline of the run to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub timings: Option<PathBuf>,
    /// Emptying Nodes.
    #[command(flatten)]
    pub draining: Draining,
    /// Waiting for others.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  provision plan cluster.yaml
  provision plan cluster.yaml --output json | jq '.steps[].id'
  provision plan cluster.yaml --out change.plan && provision apply --plan change.plan

Exit codes: 0 nothing to do, 2 there is something to do, others as in `provision --help`.")]
pub struct PlanArgs {
    /// The topology file; `-` for standard input.
    pub file: PathBuf,
    /// Keep the plan in this file, for `provision apply --plan`.
    #[arg(long, value_name = "PLANFILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `scale`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  provision scale lab --workers 5            if the cluster has one pool of workers
  provision scale lab --pool small=3 --pool large=1
  provision scale lab --control-planes 3
  provision scale lab --etcd 5               external etcd only
  provision scale lab --workers 1 --dry-run  only show the plan
  provision scale lab --workers 1 --drain-timeout 30m   give pods more time to move

The topology that the cluster keeps is changed; the lines to change in your own file are printed.")]
#[group(id = "counts", required = true, multiple = true)]
pub struct ScaleArgs {
    /// Name of the cluster.
    pub cluster: String,
    /// How many workers, if there is one pool of them.
    #[arg(long, value_name = "N", group = "counts", conflicts_with = "pool")]
    pub workers: Option<u16>,
    /// How many workers in this pool; may be given several times.
    #[arg(long, value_name = "NAME=N", group = "counts", value_parser = pool)]
    pub pool: Vec<(String, u16)>,
    /// How many control planes.
    #[arg(long, value_name = "N", group = "counts")]
    pub control_planes: Option<u16>,
    /// How many external etcd members.
    #[arg(long, value_name = "N", group = "counts")]
    pub etcd: Option<u16>,
    /// Only show what would change; exit code 2 if there is something to do.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before machines are removed, or made anew that are lost.
    #[arg(long, short)]
    pub yes: bool,
    /// Emptying Nodes.
    #[command(flatten)]
    pub draining: Draining,
    /// Waiting for others.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Arguments of `stop` and `start`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  provision stop lab     workers, balancers, control planes, etcd: shut down in this order
  provision start lab    etcd, control planes, balancers, workers; ends when all Nodes are Ready

Nothing is lost: disks, addresses and certificates stay.
A machine that does not shut down in two minutes is switched off.")]
pub struct PowerArgs {
    /// Name of the cluster, or a topology file.
    pub cluster: String,
    /// Waiting for others.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Arguments of `destroy`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  provision destroy lab          shows what goes and wants the name typed
  provision destroy lab --yes    for scripts

What does not carry the cluster's mark is never touched.")]
pub struct DestroyArgs {
    /// Name of the cluster, or a topology file.
    pub cluster: String,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// Let existing hosts go as they are that cannot be reached or that show another key.
    #[arg(long)]
    pub abandon: bool,
    /// Waiting for others.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Reads `90s`, `10m`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write it as 90s, 10m or 1h30m");
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    parsed.try_into().map_err(|_| wrong())
}

fn pool(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?} is not NAME=N, such as small=3");
    let (name, count) = text.split_once('=').ok_or_else(wrong)?;
    Ok((name.to_owned(), count.parse().map_err(|_| wrong())?))
}
