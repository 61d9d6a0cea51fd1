//! Arguments of the verbs that look at a cluster or talk to its machines.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::cluster::duration;

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  provision status lab
  provision status lab --watch
  provision status lab --output json | jq '.problems'

Exit codes: 0 the cluster could be looked at, whatever was seen; 7 there is no such cluster.")]
pub struct StatusArgs {
    /// Name of the cluster, or a topology file.
    pub cluster: String,
    /// Look again and again, and show what has changed, until Ctrl-C.
    #[arg(long, short)]
    pub watch: bool,
}

/// A machine of a cluster.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  provision console single-node
  provision console lab lab-worker-2")]
pub struct MachineName {
    /// Name of the cluster, or a topology file.
    pub cluster: String,
    /// Name of the machine; may be left out if there is only one.
    pub machine: Option<String>,
}

/// Arguments of `kubeconfig`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that is typed")]
#[command(after_help = "Examples:
  provision kubeconfig lab > lab.kubeconfig
  export KUBECONFIG=\"$(provision kubeconfig lab --path)\"
  provision kubeconfig lab --merge            into ~/.kube/config, as context `lab`
  provision kubeconfig lab --merge --into team.kubeconfig
  provision kubeconfig lab --remove           take it out again

Entries of other clusters are kept as they are; comments are not.
An entry of the same name that is not this cluster's is refused.")]
pub struct KubeconfigArgs {
    /// Name of the cluster, or a topology file.
    pub cluster: String,
    /// Print the path of the file instead of its content.
    #[arg(long, conflicts_with_all = ["merge", "remove"])]
    pub path: bool,
    /// Add the cluster to your kubeconfig, and make it the current context.
    #[arg(long)]
    pub merge: bool,
    /// Take the cluster out of your kubeconfig.
    #[arg(long, conflicts_with = "merge")]
    pub remove: bool,
    /// Your kubeconfig [default: the first file in `$KUBECONFIG`, else ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,
    /// Name of the context, cluster and user in your kubeconfig [default: the cluster's name].
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Leave the current context as it is.
    #[arg(long, requires = "merge")]
    pub keep_current: bool,
}

/// Arguments of `ssh`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  provision ssh single-node
  provision ssh lab lab-worker-2
  provision ssh lab worker-2 -- journalctl -u kubelet -n 50

The cluster's name at the beginning of a machine's may be left out.

Exit codes: that of the command there; 255 if the machine cannot be reached.")]
pub struct SshArgs {
    /// Name of the cluster, or a topology file.
    pub cluster: String,
    /// Name of the machine; may be left out if there is only one.
    pub machine: Option<String>,
    /// The command; a shell if left out.
    #[arg(last = true)]
    pub command: Vec<OsString>,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  provision logs lab-control-plane-1 kube-apiserver
  provision logs lab-worker-2 kubelet --follow
  provision logs lab-etcd-1 etcd --since 10m --tail 100

Components are containers of static pods and add-ons (etcd, kube-apiserver,
kube-controller-manager, kube-scheduler, kube-proxy, cluster-dns) and systemd units (kubelet,
containerd; etcd, haproxy and keepalived on machines of their own).")]
pub struct LogsArgs {
    /// Name of the machine.
    #[arg(value_name = "NODE")]
    pub machine: String,
    /// Name of the component.
    pub component: String,
    /// Go on with what is logged from now on, until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// Only what was logged in this time, such as 10m.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub since: Option<Duration>,
    /// Only the last lines.
    #[arg(long, value_name = "LINES")]
    pub tail: Option<u32>,
    /// The cluster, if machines of several have this name.
    #[arg(long, value_name = "CLUSTER")]
    pub cluster: Option<String>,
}

/// Arguments of `support-bundle`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  provision support-bundle lab
  provision support-bundle lab --file /tmp/lab.tar.gz

The archive holds the topology, the plan, the journal, the status, the logs of every machine that
can be reached, consoles, and the cluster's objects without Secrets.
Private keys, tokens and passwords are taken out.")]
pub struct BundleArgs {
    /// Name of the cluster, or a topology file.
    pub cluster: String,
    /// Where the archive goes [default: `<cluster>-support-<time>.tar.gz` in this directory].
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}
