//! `provision apply FILE`, and `provision FILE`.

use std::path::Path;
use std::time::Duration;

use ::topology::Topology;
use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
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
/// Prints the time, and when the first line on an election was written, both as RFC 3339. A member is a pod or a unit.
const ETCD_LEADER: &str = "date -u +%Y-%m-%dT%H:%M:%S.%NZ
at=$(cat /dev/null /var/log/pods/kube-system_etcd-*/etcd/*.log* 2>/dev/null | grep 'elected leader' | sort | head -n 1 | cut -d ' ' -f 1)
[ -n \"$at\" ] || at=$(journalctl --no-pager -u etcd -o short-unix | grep -m 1 'elected leader' | cut -d ' ' -f 1 | sed 's/^/@/')
[ -z \"$at\" ] || date -u -d \"$at\" +%Y-%m-%dT%H:%M:%S.%NZ";

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
        if let Some(kept) = manner.kept {
            kept.admit(round, &context.desired.components.tag, plan)?;
        } else {
            if manner.show && round == 0 {
                super::note(&super::plan::tree(context.desired.topology.name(), plan));
            }
            if consent.will_ask(plan) {
                context.progress.close();
            }
            consent.ask(plan)?;
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

/// Asks a machine that runs a member when etcd had a leader: etcd writes it down, and nothing of ours waits for it.
async fn etcd_leader(context: &Context) -> Result<()> {
    let members = context.desired.etcd();
    let host = context.hosts.connect(members.first().context("a member of etcd")?, GLANCE).await?;
    let ago = since_election(&host.run(&Script::new(ETCD_LEADER)).await?.text())?;
    // The clocks of host and machine differ; both have just been read.
    context.timeline.mark_at("etcdLeader", Timestamp::now() - ago);
    Ok(())
}

/// How long ago it was, from what the script above prints.
fn since_election(text: &str) -> Result<SignedDuration> {
    let (now, elected) = text.trim_end().split_once('\n').context("etcd has elected no leader")?;
    let (now, elected): (Timestamp, Timestamp) = (now.parse()?, elected.parse()?);
    Ok(now.duration_until(elected).abs())
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    const JOURNAL: &str = r#"journalctl() { echo '1577840400.250000 lab-etcd-1 etcd[7]: {"msg":"raft.node: 1 elected leader 1 at term 2"}'; }"#;

    /// What the script prints on a machine with these log folders, and with or without a unit.
    fn elected(pods: &Path, journal: &str) -> Result<Timestamp> {
        let script = ETCD_LEADER.replace("/var/log/pods", &pods.display().to_string());
        let output = Command::new("sh").args(["-c", &format!("{journal}\n{script}")]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        since_election(&text)?;
        Ok(text.lines().last().unwrap().parse()?)
    }

    #[test]
    fn the_first_election_is_found_in_a_pod_and_in_a_unit() {
        let pods = tempfile::tempdir().unwrap();
        let unit = elected(pods.path(), JOURNAL).unwrap();
        assert_eq!(unit, "2020-01-01T01:00:00.25Z".parse().unwrap());
        assert!(elected(pods.path(), "journalctl() { :; }").unwrap_err().to_string().contains("no leader"));
        let folder = pods.path().join("kube-system_etcd-lab-control-plane-1_uid/etcd");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("1.log"), "2020-01-03T00:00:00Z stderr F 1 elected leader 2\n").unwrap();
        std::fs::write(folder.join("0.log"), "2020-01-02T00:00:00.5Z stderr F 1 elected leader 1\n").unwrap();
        assert_eq!(elected(pods.path(), JOURNAL).unwrap(), "2020-01-02T00:00:00.5Z".parse().unwrap());
    }
}
