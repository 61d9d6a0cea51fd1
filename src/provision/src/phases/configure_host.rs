//! Gives a host its certificates, manifests and configuration, and lets its services read them.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use futures::future::BoxFuture;
use ssh::{File, Script};
use topology::Role;

use super::{PATIENCE, connect_host, install_components, join_etcd, promote_etcd};
use crate::context::Context;
use crate::desired::{DesiredHost, DesiredMachine, INITIAL_CLUSTER, INITIAL_STATE};
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "configure-host";

/// One step for each host whose files are not those that are wanted, or one of whose services does not run.
pub(crate) struct ConfigureHost;

impl Phase for ConfigureHost {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let mut steps = Vec::new();
        // Members and API servers that work already are interrupted one after the other.
        let mut interrupted = None;
        for desired in &context.desired.machines {
            let name = &desired.machine.name;
            let Some((action, reason)) = change(desired, seen) else { continue };
            let mut step = Step::new(NAME, name, action, reason).after([
                Step::name(connect_host::NAME, name),
                Step::name(install_components::NAME, name),
                Step::name(join_etcd::NAME, name),
            ]);
            if action == Action::Restart && matches!(desired.machine.role, Role::ControlPlane | Role::Etcd) {
                let earlier = interrupted.replace(step.id.clone());
                step = step.after(earlier);
            }
            if desired.machine.role == Role::ControlPlane && !context.desired.topology.has_etcd(&Role::ControlPlane) {
                step = step.after(members_first(context, seen));
            }
            steps.push(step);
        }
        steps
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let desired = context.desired.machine(&step.subject)?;
            let host = context.hosts.connect(&step.subject, PATIENCE).await?;
            host.upload(&files(context, &step.subject, &desired.host)?).await?;
            host.run(&Script::new(renew(&desired.host))).await?;
            context.timeline.mark("configure");
            if step.action == Action::Restart && desired.machine.role == Role::ControlPlane {
                context.cluster.wait_server(&step.subject).await?;
            }
            Ok(())
        })
    }
}

fn change(desired: &DesiredMachine, seen: &Inventory) -> Option<(Action, String)> {
    let Some(host) = seen.hosts.get(&desired.machine.name).filter(|host| host.configured != "-") else {
        return Some((Action::Create, "it has not been told what it is".to_owned()));
    };
    if host.configured != desired.host.hash {
        return Some((Action::Restart, "its files are not those that are wanted".to_owned()));
    }
    let idle = desired.host.services.iter().find(|service| !host.services.contains(service.name))?;
    Some((Action::Restart, format!("its {} does not run", idle.name)))
}

/// External members that are new stand before the API servers that ask them.
fn members_first(context: &Context, seen: &Inventory) -> Vec<String> {
    let members = context.desired.machines.iter().filter(|desired| desired.machine.role == Role::Etcd);
    let new = members.filter(|desired| change(desired, seen).is_some());
    new.flat_map(|desired| [NAME, promote_etcd::NAME].map(|phase| Step::name(phase, &desired.machine.name))).collect()
}

/// The files, with what this member of etcd begins with.
fn files(context: &Context, name: &str, desired: &DesiredHost) -> Result<Vec<File>> {
    let is_member = context.desired.etcd().iter().any(|member| member == name);
    let (cluster, state) = match context.ledger.seat(name) {
        Some(seat) => (seat.initial_cluster, "existing"),
        None => (context.ledger.founding_cluster(), "new"),
    };
    // A second etcd beside the first would be worse than none.
    let seated = context.ledger.is_founder(name) || context.ledger.seat(name).is_some();
    ensure!(!is_member || seated, "{name} has no place in etcd");
    // First of all the mark goes: from here on the files are neither the old ones nor the new ones.
    let mut files = vec![File::public("/var/lib/provision/configured", "-\n")];
    files.extend_from_slice(&desired.files);
    for file in &mut files {
        let text = String::from_utf8_lossy(&file.content);
        if text.contains(INITIAL_CLUSTER) {
            file.content = text.replace(INITIAL_CLUSTER, &cluster).replace(INITIAL_STATE, state).into();
        }
    }
    Ok(files)
}

/// Always renews: the run that brought the files may have been killed before it.
fn renew(desired: &DesiredHost) -> String {
    let mut script = "mkdir -p /etc/kubernetes/manifests /var/lib/provision
systemctl daemon-reload
[ ! -e /etc/systemd/system/provision-masquerade.service ] || systemctl reload-or-restart provision-masquerade
"
    .to_owned();
    for service in &desired.services {
        let _ = writeln!(script, "systemctl enable --quiet {0}\nsystemctl {1} {0}", service.name, service.renew);
    }
    let _ = write!(
        script,
        "printf '%s\\n' {} >/var/lib/provision/configured.new
mv /var/lib/provision/configured.new /var/lib/provision/configured",
        desired.hash
    );
    script
}
