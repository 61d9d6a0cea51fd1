//! `provision scale CLUSTER`: the topology that the cluster was brought to, with other numbers.

use ::topology::Topology;
use ::topology::spec::{Cluster, EtcdMode, WorkerPool};
use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::apply::{Manner, bring};
use super::{hold, note, open, plan};
use crate::config::{Config, ScaleArgs};
use crate::exit::{Exit, Refusal};
use crate::progress::Format;

/// What the only pool is called in a cluster that had none.
const FIRST_POOL: &str = "worker";

pub(super) async fn run(args: &ScaleArgs, config: &Config, token: &CancellationToken) -> Result<Exit> {
    let name = open::cluster_name(&args.cluster)?;
    let state = open::state_of(&name, config)?;
    if args.dry_run {
        let topology = scaled(&open::saved_topology(&state)?, args)?;
        return plan::show(topology, config, None).await;
    }
    let _lock = hold(&state, &format!("scale {name}"), args.waiting, token).await?;
    let before = open::saved_topology(&state)?;
    let after = scaled(&before, args)?;
    let follow = lines(&before, &after);
    let manner =
        Manner { yes: args.yes, show: config.output == Format::Text, drain: args.draining.into(), ..Manner::default() };
    let exit = bring(after, config, &manner, token).await?;
    if !follow.is_empty() && config.output == Format::Text {
        note(&format!(
            "The cluster's own topology says so now. Change your file too, or the next apply undoes it:\n{follow}"
        ));
    }
    Ok(exit)
}

/// The topology with the numbers that are asked for, checked like any other.
fn scaled(before: &Topology, args: &ScaleArgs) -> Result<Topology> {
    let name = before.name();
    let spec = &before.cluster().spec;
    let mut pools = args.pool.clone();
    if let Some(count) = args.workers {
        pools.push((only_pool(before)?, count));
    }
    for (pool, _) in &pools {
        let known = spec.workers.iter().any(|known| known.name == *pool);
        if !(known || spec.workers.is_empty() && pool == FIRST_POOL) {
            let message = format!("{name} has no pool of workers called {pool}");
            return Err(Refusal::new(Exit::NotFound, message).hint(there_are(before)).into());
        }
    }
    if let Some(count) = args.control_planes {
        let voters = if spec.etcd.mode == EtcdMode::Stacked { "etcd voters beside them" } else { "control planes" };
        odd("--control-planes", count, voters)?;
        if count > 1 && spec.load_balancer.is_none() {
            let message = format!(
                "--control-planes {count}: clients of several API servers need one address, and {name} has none"
            );
            let hint = format!(
                "in your file, write `loadBalancer: {{replicas: 0}}` under spec (0: on the control planes themselves) beside \
                 controlPlane.replicas: {count}, and apply it"
            );
            return Err(Refusal::new(Exit::Topology, message).hint(hint).into());
        }
    }
    if let Some(count) = args.etcd {
        if spec.etcd.mode == EtcdMode::Stacked {
            let message = format!("--etcd: the etcd members of {name} are stacked, one on each control plane");
            return Err(Refusal::new(Exit::Topology, message).hint("scale with --control-planes 1, 3 or 5").into());
        }
        odd("--etcd", count, "etcd voters")?;
    }
    let change = |cluster: &mut Cluster| {
        for (pool, count) in pools {
            match cluster.spec.workers.iter_mut().find(|known| known.name == pool) {
                Some(known) => known.replicas = count,
                None => cluster.spec.workers.push(first_pool(count)),
            }
        }
        if let Some(count) = args.control_planes {
            if cluster.spec.etcd.mode == EtcdMode::External && cluster.spec.etcd.replicas.is_none() {
                // They were as many as the control planes; that is no reason to change them too.
                cluster.spec.etcd.replicas = Some(cluster.spec.control_plane.replicas);
            }
            cluster.spec.control_plane.replicas = count;
        }
        if args.etcd.is_some() {
            cluster.spec.etcd.replicas = args.etcd;
        }
    };
    Ok(before.with(&format!("{name}, scaled"), change)?)
}

/// An even number of voters tolerates no more failures than one voter less, and is lost sooner.
fn odd(option: &str, count: u16, voters: &str) -> Result<()> {
    if count != 0 && count % 2 == 1 {
        return Ok(());
    }
    let (message, safe) = match count {
        0 => (format!("{option} 0 would leave the cluster without any"), "1, 3 or 5".to_owned()),
        _ => (
            format!("{option} {count} would make {count} {voters}, which tolerate no more failures than {}", count - 1),
            format!("{} or {}", count - 1, count + 1),
        ),
    };
    Err(Refusal::new(Exit::Topology, message).hint(format!("safe would be {option} {safe}")).into())
}

fn only_pool(topology: &Topology) -> Result<String> {
    match topology.cluster().spec.workers.as_slice() {
        [] => Ok(FIRST_POOL.to_owned()),
        [only] => Ok(only.name.clone()),
        _ => {
            let message = format!("{} has several pools of workers: --workers does not say which", topology.name());
            Err(Refusal::new(Exit::Usage, message).hint(there_are(topology)).into())
        }
    }
}

fn there_are(topology: &Topology) -> String {
    let pools = &topology.cluster().spec.workers;
    if pools.is_empty() {
        return "it has none; --workers N makes the first".to_owned();
    }
    let listed = pools.iter().map(|pool| format!("--pool {}={}", pool.name, pool.replicas)).collect::<Vec<_>>();
    format!("as it is now: {}", listed.join(" "))
}

fn first_pool(replicas: u16) -> WorkerPool {
    WorkerPool {
        name: FIRST_POOL.to_owned(),
        replicas,
        machine: ::topology::spec::MachineSize::default(),
        labels: std::collections::BTreeMap::new(),
        taints: Vec::new(),
    }
}

/// What differs, as it should stand in the user's own file.
fn lines(before: &Topology, after: &Topology) -> String {
    let (old, new) = (&before.cluster().spec, &after.cluster().spec);
    let mut lines = Vec::new();
    if old.control_plane.replicas != new.control_plane.replicas {
        lines.push("  controlPlane:".to_owned());
        lines.push(format!("    replicas: {}", new.control_plane.replicas));
    }
    if let (true, Some(replicas)) = (old.etcd.replicas != new.etcd.replicas, new.etcd.replicas) {
        lines.push("  etcd:".to_owned());
        lines.push(format!("    replicas: {replicas}"));
    }
    let mut pools = new.workers.iter().filter(|pool| !old.workers.contains(pool)).peekable();
    if pools.peek().is_some() {
        lines.push("  workers:".to_owned());
    }
    for pool in pools {
        lines.push(format!("  - name: {}", pool.name));
        lines.push(format!("    replicas: {}", pool.replicas));
    }
    if !lines.is_empty() {
        lines.insert(0, "spec:".to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config::{Cli, Command};
    use crate::exit::{classify, hint};

    const HEAD: &str = "apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {name: lab}\n";
    const POOLS: &str = "spec: {workers: [{name: small, replicas: 2}, {name: large}]}";
    const EXTERNAL: &str =
        "spec: {controlPlane: {replicas: 3}, etcd: {mode: external}, workers: [{name: w}], loadBalancer: {}}";

    fn try_scale(spec: &str, options: &str) -> Result<(Topology, String)> {
        let before = Topology::parse("lab.yaml", &format!("{HEAD}{spec}")).unwrap();
        let words = ["provision", "scale", "lab"].into_iter().chain(options.split_whitespace());
        let Command::Scale(args) = Cli::try_parse_from(words).unwrap().command else { panic!("no scale") };
        let after = scaled(&before, &args)?;
        let lines = lines(&before, &after);
        Ok((after, lines))
    }

    fn check(spec: &str, options: &str, follow: &str) {
        let (after, lines) = try_scale(spec, options).unwrap();
        assert_eq!(lines, follow, "{options}");
        // The lines are right: the user's file with them is the topology of the cluster.
        if !follow.is_empty() {
            assert!(after.to_yaml().contains("replicas"));
        }
    }

    fn refused(spec: &str, options: &str, exit: Exit, says: &str, cure: &str) {
        let error = try_scale(spec, options).unwrap_err();
        assert_eq!(classify(&error), exit, "{options}: {error:#}");
        assert!(error.to_string().contains(says), "{options}: {error:#}");
        assert!(hint(&error).unwrap_or_default().contains(cure), "{options}: {:?}", hint(&error));
    }

    #[test]
    fn numbers_change_and_the_lines_for_the_users_file_are_told() {
        check("", "--workers 2", "spec:\n  workers:\n  - name: worker\n    replicas: 2");
        check("spec: {workers: [{name: w}]}", "--workers 5", "spec:\n  workers:\n  - name: w\n    replicas: 5");
        check(POOLS, "--pool small=0 --pool large=1", "spec:\n  workers:\n  - name: small\n    replicas: 0");
        let balanced = "spec: {loadBalancer: {replicas: 0}}";
        check(balanced, "--control-planes 3", "spec:\n  controlPlane:\n    replicas: 3");
        check(EXTERNAL, "--etcd 5", "spec:\n  etcd:\n    replicas: 5");
        check(POOLS, "--pool small=2", "");
    }

    #[test]
    fn more_control_planes_leave_external_etcd_as_it_is() {
        let (after, lines) = try_scale(EXTERNAL, "--control-planes 5").unwrap();
        assert_eq!(after.cluster().spec.etcd.replicas, Some(3));
        assert_eq!(lines, "spec:\n  controlPlane:\n    replicas: 5\n  etcd:\n    replicas: 3");
    }

    #[test]
    fn even_voters_are_refused_with_what_would_be_safe() {
        refused("", "--control-planes 3", Exit::Topology, "need one address", "loadBalancer: {replicas: 0}");
        refused("", "--control-planes 2", Exit::Topology, "no more failures than 1", "--control-planes 1 or 3");
        refused(EXTERNAL, "--etcd 4", Exit::Topology, "4 etcd voters", "--etcd 3 or 5");
        refused("", "--control-planes 0", Exit::Topology, "without any", "1, 3 or 5");
        refused("", "--etcd 3", Exit::Topology, "are stacked", "--control-planes 1, 3 or 5");
    }

    #[test]
    fn a_pool_that_is_not_there_or_not_named_is_refused_with_those_there_are() {
        refused(POOLS, "--workers 3", Exit::Usage, "several pools", "--pool small=2 --pool large=1");
        refused(POOLS, "--pool tiny=3", Exit::NotFound, "no pool of workers called tiny", "--pool small=2");
    }

    #[test]
    fn what_the_topology_does_not_allow_is_refused_by_its_field() {
        let error = try_scale("spec: {workers: [{name: w}]}", "--workers 1001").unwrap_err();
        assert_eq!(classify(&error), Exit::Topology);
        assert!(error.to_string().contains("lab, scaled: spec.workers[0].replicas"), "{error:#}");
    }
}
