//! What can be typed: verbs, their arguments and their examples.

mod cluster;
mod look;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::cluster::*;
pub use self::look::*;
use crate::progress::Format;

/// Over the options that every verb has.
const GLOBAL: &str = "Everywhere";

/// What the user typed.
#[derive(Debug, Parser)]
#[command(
    name = "provision",
    version,
    about = "Kubernetes clusters on virtual machines, from one topology file",
    after_help = "Examples:
  provision topologies/single-node.yaml       make the cluster, or bring it to what the file says
  provision plan topologies/single-node.yaml  show what that would change
  provision status single-node                machines, components and their health
  kubectl --kubeconfig \"$(provision kubeconfig single-node --path)\" get nodes
  provision destroy single-node               take everything away again

Exit codes:
  0 done              1 a step failed     2 `plan`: there is something to do
  3 wrong topology    4 this host cannot  5 a machine is not who it should be
  6 another run holds the cluster         7 no such cluster, machine or file
  8 nobody agreed to a change that destroys, or a kept plan no longer fits
  64 wrong usage      130 interrupted"
)]
pub struct Cli {
    /// Where clusters are kept [default: `$XDG_STATE_HOME/provision`].
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where images are kept [default: `$XDG_CACHE_HOME/provision`].
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// The binary with all node programs [default: `hyperkube` beside this program].
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE")]
    pub hyperkube: Option<PathBuf>,
    /// How output is written.
    #[arg(long, short, global = true, help_heading = GLOBAL, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// Say more on standard error; twice for everything.
    #[arg(long, short, global = true, help_heading = GLOBAL, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a cluster, or bring it to what its topology says (also: `provision FILE`).
    Apply(ApplyArgs),
    /// Show what `apply` would change; exit code 2 if there is something to do.
    Plan(PlanArgs),
    /// Change how many machines a cluster has.
    Scale(ScaleArgs),
    /// Power a whole cluster off, in the right order.
    Stop(PowerArgs),
    /// Power a whole cluster on again, until every Node is Ready.
    Start(PowerArgs),
    /// Show machines, components, etcd members, certificates and conditions of a cluster.
    Status(StatusArgs),
    /// List all clusters.
    #[command(after_help = "Examples:
  provision list
  provision list --output json")]
    List,
    /// Print the administrator's kubeconfig, or merge it into yours.
    Kubeconfig(KubeconfigArgs),
    /// Open a shell on a machine, or run a command there.
    Ssh(SshArgs),
    /// Show what a machine wrote to its console.
    Console(MachineName),
    /// Show what a component on a machine has logged.
    Logs(LogsArgs),
    /// Gather what helps to find out what is wrong with a cluster, without secrets.
    SupportBundle(BundleArgs),
    /// Remove a cluster with all its machines.
    Destroy(DestroyArgs),
    /// The node image, and container images for clusters.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Check topology files and print their schema.
    #[command(subcommand)]
    Topology(TopologyCommand),
    /// Check whether this host can run clusters, and say how to mend what is wrong.
    #[command(after_help = "Examples:
  provision doctor")]
    Doctor,
    /// Print a completion script for a shell.
    #[command(
        alias = "completions",
        after_help = "Examples:
  source <(provision completion bash)
  provision completion zsh > \"${fpath[1]}/_provision\"
  provision completion fish > ~/.config/fish/completions/provision.fish"
    )]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Prints the names of clusters, or of the machines of one, a line each (for completion scripts).
    #[command(hide = true)]
    Names {
        /// The cluster; `-` for the machines of all.
        cluster: Option<String>,
    },
    /// Carries bytes between standard input and output and a port of a machine (for OpenSSH's `ProxyCommand`).
    #[command(hide = true)]
    Dial(DialArgs),
    /// The keeper of a private libvirt daemon; started by `apply`.
    #[command(hide = true)]
    EmbeddedSupervisor {
        /// Its own arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// A topology file.
#[derive(Debug, Args)]
pub struct TopologyFile {
    /// The file; `-` for standard input.
    pub file: PathBuf,
}

/// Arguments of `dial`.
#[derive(Debug, Args)]
pub struct DialArgs {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the machine.
    pub machine: String,
    /// The port.
    pub port: u16,
}

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build the node image, unless it is cached.
    #[command(after_help = "Examples:
  provision image build
  provision image build --release trixie --mirror http://deb.debian.org/debian")]
    Build {
        /// The Debian release.
        #[arg(long, default_value = topology::defaults::DEBIAN_RELEASE)]
        release: String,
        /// The mirror to install from [default: this host's].
        #[arg(long)]
        mirror: Option<String>,
    },
    /// Bring container images from an archive (`docker save`, OCI layout) to the nodes of a cluster.
    #[command(after_help = "Examples:
  docker save example/app:1 -o app.tar && provision image load single-node app.tar
  provision image load ha-stacked app.tar --node ha-stacked-worker-3")]
    Load {
        /// Name of the cluster, or a topology file.
        cluster: String,
        /// The archive.
        archive: PathBuf,
        /// Only this node; may be given several times.
        #[arg(long = "node", value_name = "NAME")]
        nodes: Vec<String>,
    },
}

/// What to do with topologies.
#[derive(Debug, Subcommand)]
pub enum TopologyCommand {
    /// Print the JSON Schema of topology files.
    #[command(after_help = "Examples:
  provision topology schema > provision.schema.json")]
    Schema,
    /// Check a topology file and print it with every default written down.
    #[command(after_help = "Examples:
  provision topology validate topologies/single-node.yaml")]
    Validate(TopologyFile),
}
