//! `cargo xtask schema`: joins three public descriptions of the Kubernetes API into the tables of `src/api/schema`.
//!
//! | input | gives |
//! |---|---|
//! | `--definitions` `_definitions.json` of a release, from the `kubernetes-validate` wheel | names, types, list and patch rules, prose |
//! | `--messages` `src/` of the crate `k8s-pb` | protobuf numbers |
//! | `--go` checkouts of kubernetes/{api,apimachinery,apiextensions-apiserver,kube-aggregator} | which scalars are pointers, which fields are written when zero |

mod definitions;
mod go_tags;
mod join;
mod messages;
mod write;

use anyhow::Context;
use std::path::PathBuf;

/// Where the inputs are.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// JSON schema of all types.
    #[arg(long)]
    definitions: PathBuf,
    /// Generated protobuf messages.
    #[arg(long)]
    messages: PathBuf,
    /// Go declarations; may be given several times.
    #[arg(long)]
    go: Vec<PathBuf>,
    /// The folder to write to.
    #[arg(long, default_value = "src/api/schema")]
    out: PathBuf,
}

/// Generates the tables.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let definitions = definitions::read(&args.definitions)?;
    let messages = messages::read(&args.messages)?;
    let go = go_tags::read(&args.go)?;
    let types = join::join(&definitions, &messages, &go)?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("create {}", args.out.display()))?;
    write::write(&args.out, &types)
}
