//! `provision support-bundle CLUSTER`: everything that helps to find out what is wrong, and no secret.

mod archive;
mod cluster;
mod parts;
mod redact;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;
use ssh::Script;

use self::archive::Bundle;
use self::parts::Parts;
use self::redact::Redactor;
use super::{note, open, print, print_json, status};
use crate::config::{BundleArgs, Config};
use crate::context::Context;
use crate::exit::Exit;
use crate::inventory::observe;
use crate::lifecycle::{UP, plan};
use crate::progress::{Format, Silent};
use crate::state::StateDir;

/// How long a machine may take to let us in, and to tell everything.
const PATIENCE: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_mins(2);
/// How much a machine may tell.
const MOST_BYTES: usize = 64 << 20;
/// Prints parts, each with a name and what a command says.
const HOST_SCRIPT: &str = r#"part() { echo; echo "=====provision-part $1"; shift; "$@" 2>&1 || true; }
for unit in kubelet containerd etcd haproxy keepalived; do
  systemctl cat $unit >/dev/null 2>&1 && part $unit.log journalctl --no-pager -o short-iso -n 4000 -u $unit
done
part kernel.log journalctl --no-pager -o short-iso -k -n 1000
part units.txt systemctl --no-pager --all list-units
part failed.txt systemctl --no-pager --failed
part network.txt ip address
part routes.txt ip route
part ruleset.txt nft list ruleset
part disks.txt df -h
part memory.txt free -m
part processes.txt ps -eo pid,ppid,stat,rss,etime,comm
part containers.txt ctr -n k8s.io tasks list
part images.txt ctr -n k8s.io images list -q
for file in /etc/kubernetes/manifests/*.yaml; do [ -r "$file" ] && part "manifests/${file##*/}" cat "$file"; done
for file in /var/log/pods/*/*/*.log; do [ -r "$file" ] && part "pods/${file#/var/log/pods/}" tail -n 2000 "$file"; done
true"#;

pub(super) async fn run(args: &BundleArgs, config: &Config) -> Result<Exit> {
    let name = open::cluster_name(&args.cluster)?;
    let state = open::state_of(&name, config)?;
    let now = jiff::Timestamp::now();
    let stem = format!("{name}-support-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    let mut bundle = Bundle::new(&stem, Redactor::new(&state)?);
    collect_state(&state, &mut bundle);
    // A cluster that cannot be opened is what bundles are made for.
    match open::existing(&name, config, Arc::new(Silent)) {
        Ok(context) => collect_live(&context, &mut bundle, now).await,
        Err(error) => bundle.missing("everything that is not in the state directory", &error),
    }
    let file = args.file.clone().unwrap_or_else(|| PathBuf::from(format!("{stem}.tar.gz")));
    let (files, missing) = bundle.write(&file)?;
    match config.output {
        Format::Json => print_json(&serde_json::json!({ "file": file, "files": files, "missing": missing }))?,
        Format::Text => {
            print(&file.display().to_string());
            note(&format!(
                "{files} files; private keys, tokens and passwords were taken out, look before you pass it on"
            ));
            for missing in missing {
                note(&format!("missing: {missing}"));
            }
        }
    }
    Ok(Exit::Done)
}

/// What lies on this host.
fn collect_state(state: &StateDir, bundle: &mut Bundle) {
    bundle.add("version.txt", &format!("provision {}\n", env!("CARGO_PKG_VERSION")));
    for name in ["topology.yaml", "cluster.json", "journal.jsonl", "stopped", "lock"] {
        bundle.add_file(name, &state.path(name));
    }
    for (folder, depth) in [("console", 1), ("embedded", 4)] {
        bundle.add_logs(folder, &state.path(folder), depth);
    }
}

/// What only those can tell who run.
async fn collect_live(context: &Context, bundle: &mut Bundle, now: jiff::Timestamp) {
    let raw = status::look(context).await;
    let status = status::assemble(context, &raw, now);
    bundle.add("status.txt", &status::text(&status));
    bundle.add_json("status.json", &serde_json::to_value(&status).unwrap_or_default());
    match observe(context).await {
        Ok(seen) => bundle.add("plan.txt", &super::plan::tree(&status.name(), &plan(UP, context, &seen))),
        Err(error) => bundle.missing("plan.txt", &error),
    }
    let names: Vec<&String> = context.desired.machines.iter().map(|desired| &desired.machine.name).collect();
    let (told, objects) =
        tokio::join!(join_all(names.iter().map(|name| ask(context, name))), cluster::dump(&context.desired.kubeconfig));
    for (name, (parts, told)) in names.iter().zip(told) {
        for (part, text) in &parts {
            bundle.add(&format!("hosts/{name}/{part}"), text);
        }
        if let Err(error) = told {
            bundle.missing(&format!("hosts/{name}"), &error);
        }
    }
    match objects {
        Ok(objects) => {
            for (file, object) in objects {
                bundle.add_json(&format!("cluster/{file}.json"), &object);
            }
        }
        Err(error) => bundle.missing("cluster", &error),
    }
}

/// What a machine tells, and why it is not all, if it is not.
async fn ask(context: &Context, name: &str) -> (Vec<(String, String)>, Result<()>) {
    let mut parts = Parts::new(archive::MOST_BYTES, MOST_BYTES);
    let told = async {
        let host = context.hosts.connect(name, PATIENCE).await?;
        let ended = host.stream(&Script::new(HOST_SCRIPT).with_limit(LIMIT), &mut parts).await?;
        anyhow::ensure!(ended.is_success(), "it broke off with {ended}");
        Ok(())
    };
    let told = told.await;
    (parts.finish(), told)
}

#[cfg(test)]
mod tests;
