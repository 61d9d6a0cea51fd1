//! `provision apply FILE`, and `provision FILE`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use ssh::Script;
use tokio_util::sync::CancellationToken;
use topology::Role;

use super::{open, print, print_json};
use crate::config::{ApplyArgs, Config};
use crate::context::Context;
use crate::exit::Exit;
use crate::lifecycle::{UP, converge};
use crate::lock::Lock;
use crate::progress::{Format, for_output};
use crate::state::{StateDir, write_private};

/// How long a machine that has just been worked on may take to answer.
const GLANCE: Duration = Duration::from_secs(5);
/// Prints the time, and when the first line on an election was written, both as RFC 3339.
const ETCD_LEADER: &str = "date -u +%Y-%m-%dT%H:%M:%S.%NZ
grep -h -m 1 'elected leader' /var/log/pods/kube-system_etcd-*/etcd/*.log | head -n 1 | cut -d ' ' -f 1";

pub(super) async fn run(args: &ApplyArgs, config: &Config, token: &CancellationToken) -> Result<Exit> {
    let topology = open::read_topology(&args.file)?;
    let state = StateDir::new(&config.state_dir, topology.name());
    let _lock = Lock::take(&state, &format!("apply {}", args.file.display()))?;
    let progress = for_output(config.output);
    let context = open::for_apply(topology, config, progress).await?;
    context.desired.vault.save(&context.state)?;
    write_private(&context.state.path("kubeconfig"), context.desired.kubeconfig.as_bytes())?;
    // What is asked for is a cluster that runs.
    context.state.set_stopped(false)?;
    context.timeline.mark("pki");
    let outcome = converge(UP, &context, token).await;
    context.progress.close();
    if let Some(file) = &args.timings {
        if let Err(error) = etcd_leader(&context).await {
            tracing::debug!("when etcd had its leader cannot be told: {error:#}");
        }
        let text = serde_json::to_vec_pretty(&context.timeline.report())?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let plan = outcome?;
    summary(&context, config, plan.is_empty())?;
    Ok(Exit::Done)
}

/// Asks a control plane when its etcd had a leader: etcd writes it down, and nothing of ours waits for it.
async fn etcd_leader(context: &Context) -> Result<()> {
    let control_planes = context.desired.names(|role| *role == Role::ControlPlane);
    let host = context.hosts.connect(control_planes.first().context("a control plane")?, GLANCE).await?;
    let text = host.run(&Script::new(ETCD_LEADER)).await?.text();
    let (now, elected) = text.split_once('\n').context("etcd has elected no leader")?;
    let (now, elected): (Timestamp, Timestamp) = (now.parse()?, elected.parse()?);
    // The clocks of host and machine differ; both have just been read.
    context.timeline.mark_at("etcdLeader", Timestamp::now() - now.duration_until(elected).abs());
    Ok(())
}

fn summary(context: &Context, config: &Config, unchanged: bool) -> Result<()> {
    let name = context.desired.topology.name();
    let kubeconfig = context.state.path("kubeconfig");
    if config.output == Format::Json {
        return print_json(&serde_json::json!({
            "cluster": name, "changed": !unchanged, "kubeconfig": kubeconfig, "timings": context.timeline.report(),
        }));
    }
    if unchanged {
        print(&format!("Cluster {name} is as the topology asks: no change."));
    } else {
        print(&format!("Cluster {name} is ready."));
    }
    print(&format!("  kubectl --kubeconfig {} get nodes", kubeconfig.display()));
    Ok(())
}
