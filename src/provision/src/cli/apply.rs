//! `provision apply FILE`, and `provision FILE`.

use std::path::Path;
use std::time::Duration;

use ::topology::{Role, Topology};
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use ssh::Script;
use tokio_util::sync::CancellationToken;

use super::consent::Consent;
use super::plan::kept::KeptPlan;
use super::{hold, open, print, print_json};
use crate::config::{ApplyArgs, Config};
use crate::context::Context;
use crate::exit::Exit;
use crate::lifecycle::{UP, converge_through};
use crate::plan::Plan;
use crate::progress::{Format, for_output};
use crate::state::StateDir;
use crate::world::Drain;

/// How long a machine that has just been worked on may take to answer.
const GLANCE: Duration = Duration::from_secs(5);
/// Prints the time, and when the first line on an election was written, both as RFC 3339.
const ETCD_LEADER: &str = "date -u +%Y-%m-%dT%H:%M:%S.%NZ
grep -h -m 1 'elected leader' /var/log/pods/kube-system_etcd-*/etcd/*.log | head -n 1 | cut -d ' ' -f 1";

/// How a cluster is brought to its topology.
#[derive(Default)]
pub(super) struct Manner<'a> {
    /// Nobody is asked before machines go.
    pub(super) yes: bool,
    /// Exactly this plan, or nothing.
    pub(super) kept: Option<&'a KeptPlan>,
    /// Where the timeline goes.
    pub(super) timings: Option<&'a Path>,
    /// The plan is shown before it is carried out.
    pub(super) show: bool,
    /// How Nodes are emptied.
    pub(super) drain: Drain,
}

pub(super) async fn run(args: &ApplyArgs, config: &Config, token: &CancellationToken) -> Result<Exit> {
    let kept = args.plan.as_deref().map(KeptPlan::read).transpose()?;
    let (what, topology) = match (&kept, &args.file) {
        (Some(kept), _) => {
            let name = format!("the topology of {}", kept.cluster);
            (kept.cluster.clone(), open::check_wish(&name, &kept.topology, config)?)
        }
        (None, Some(file)) => (file.display().to_string(), open::read_wish(file, config)?),
        (None, None) => anyhow::bail!("neither a topology nor a plan was given"),
    };
    let state = StateDir::new(&config.state_dir, topology.name());
    let _lock = hold(&state, &format!("apply {what}"), args.waiting, token).await?;
    let manner = Manner {
        yes: args.yes,
        kept: kept.as_ref(),
        timings: args.timings.as_deref(),
        show: false,
        drain: args.draining.into(),
    };
    bring(topology, config, &manner, token).await
}

/// Brings a cluster that is locked to its topology.
pub(super) async fn bring(
    topology: Topology,
    config: &Config,
    manner: &Manner<'_>,
    token: &CancellationToken,
) -> Result<Exit> {
    let mut prepared = open::for_apply(topology, config, for_output(config.output)).await?;
    prepared.context.drain = manner.drain;
    let context = &prepared.context;
    let consent = Consent::new(context.desired.topology.name(), manner.yes || manner.kept.is_some());
    let gate = |round: usize, plan: &Plan| {
        match manner.kept {
            Some(kept) if round == 0 => kept.check(&context.desired.components.tag, plan)?,
            Some(_) => return Err(KeptPlan::refuse_more(plan)),
            None => {
                if manner.show && round == 0 {
                    super::note(&super::plan::tree(context.desired.topology.name(), plan));
                }
                if consent.will_ask(plan) {
                    context.progress.close();
                }
                consent.ask(plan)?;
            }
        }
        if round == 0 { prepared.keep() } else { Ok(()) }
    };
    let outcome = converge_through(UP, context, token, &gate).await;
    context.progress.close();
    if let Some(file) = manner.timings {
        if let Err(error) = etcd_leader(context).await {
            tracing::debug!("when etcd had its leader cannot be told: {error:#}");
        }
        let text = serde_json::to_vec_pretty(&context.timeline.report())?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let plan = outcome?;
    if plan.is_empty() {
        if let Some(kept) = manner.kept {
            kept.check(&context.desired.components.tag, &plan)?;
        }
        // What is asked for may differ and need no step.
        prepared.keep()?;
    }
    summary(context, config, plan.is_empty())?;
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
