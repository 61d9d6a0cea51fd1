//! Gives a host its certificates, manifests and configuration, and lets its services read them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::BoxFuture;
use ssh::{File, Host, Script};
use topology::Role;

use super::{PATIENCE, connect_host, install_components, join_etcd, promote_etcd, start_control_plane};
use crate::context::Context;
use crate::desired::{DesiredHost, DesiredMachine, INITIAL_CLUSTER, INITIAL_STATE, INTERFACE};
use crate::inventory::{Inventory, SeenHost, ask};
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};

pub(crate) const NAME: &str = "configure-host";

/// From the restart of a member of etcd to its agreement with the others, on an emulated machine.
const MEMBER_PATIENCE: Duration = Duration::from_mins(5);

/// One step for each host whose files are not those that are wanted, or one of whose services does not run.
pub(crate) struct ConfigureHost;

impl Phase for ConfigureHost {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let mut steps = Vec::new();
        // Members and API servers that work are interrupted one after the other, and only when the others are back.
        let mut interrupted = BTreeMap::new();
        let joiners = join_etcd::joiners(context, seen);
        for desired in &context.desired.machines {
            let name = &desired.machine.name;
            let Some((mut action, reason)) = change(desired, seen) else { continue };
            // A server beside a member without a vote is not ready before it has one, and that comes after this.
            if action == Action::Restart && joiners.contains(name) {
                action = Action::InPlace;
            }
            let mut step = Step::new(NAME, name, action, reason).after([
                Step::name(connect_host::NAME, name),
                Step::name(install_components::NAME, name),
                Step::name(join_etcd::NAME, name),
            ]);
            if action == Action::Restart && matches!(desired.machine.role, Role::ControlPlane | Role::Etcd) {
                let role = &desired.machine.role;
                let earlier = interrupted.insert(role, step.id.clone());
                step = step.after(earlier).after(lame(context, seen, role));
                if context.desired.names(|other| other == role).len() > 1 {
                    step.action = Action::Roll;
                }
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
            // What was seen may be long ago, and a machine that is as it should be is not to be interrupted. One that joins
            // etcd is told anew with whom.
            let joins = context.ledger.seat(&step.subject).is_some_and(|seat| !seat.voter);
            if !joins && fault(desired, &ask(&*host).await?, true).is_none() {
                return Ok(());
            }
            let mut files = files(context, &step.subject, &desired.host)?;
            name_interface(context, &step.subject, &mut files, &*host).await?;
            host.upload(&files).await?;
            host.run(&Script::new(renew(&desired.host))).await?;
            context.timeline.mark("configure");
            let interrupted = matches!(step.action, Action::Restart | Action::Roll);
            match desired.machine.role {
                // What was ready before may still be about to end: only its mark tells the new one.
                Role::ControlPlane if interrupted => {
                    context.cluster.wait_static_pods(&step.subject, &desired.host.static_pods).await?;
                    context.cluster.wait_server(&step.subject).await
                }
                // It was restarted without waiting; systemd joins this to what is under way.
                Role::Etcd if interrupted => {
                    host.run(&Script::new("systemctl start etcd").with_limit(MEMBER_PATIENCE)).await?;
                    Ok(())
                }
                _ => Ok(()),
            }
        })
    }
}

/// Whether it is worse off when it is restarted: a member of etcd or an API server that does its work.
fn works(desired: &DesiredMachine, seen: &Inventory) -> bool {
    let name = &desired.machine.name;
    let member = seen.hosts.get(name).is_some_and(|host| host.member);
    seen.cluster.ready && (seen.cluster.servers.contains(name) || member)
}

/// The steps that bring back machines of this role that were told what they are and do not work, or do not say whether.
fn lame(context: &Context, seen: &Inventory, role: &Role) -> Vec<String> {
    let silent = |name: &String| seen.is_silent(context, name);
    let told = |name: &String| silent(name) || seen.hosts.get(name).is_some_and(|host| host.configured != "-");
    let machines = context.desired.machines.iter();
    let lame = machines.filter(|it| {
        it.machine.role == *role && told(&it.machine.name) && (silent(&it.machine.name) || !works(it, seen))
    });
    lame.flat_map(|it| [NAME, start_control_plane::NAME].map(|phase| Step::name(phase, &it.machine.name))).collect()
}

fn change(desired: &DesiredMachine, seen: &Inventory) -> Option<(Action, String)> {
    let unasked = SeenHost { configured: "-".to_owned(), ..SeenHost::default() };
    let interrupts = !matches!(desired.machine.role, Role::ControlPlane | Role::Etcd) || works(desired, seen);
    fault(desired, seen.hosts.get(&desired.machine.name).unwrap_or(&unasked), interrupts)
}

/// What is wrong with a host, and what kind of change mends it.
fn fault(desired: &DesiredMachine, host: &SeenHost, interrupts: bool) -> Option<(Action, String)> {
    if host.configured == "-" {
        return Some((Action::Create, "it has not been told what it is".to_owned()));
    }
    if host.configured != desired.host.hash {
        let action = if interrupts { Action::Restart } else { Action::InPlace };
        return Some((action, "its files are not those that are wanted".to_owned()));
    }
    let idle = desired.host.services.iter().find(|service| !host.services.contains(service.name))?;
    Some((Action::InPlace, format!("its {} does not run", idle.name)))
}

/// External members that are new stand before the API servers that ask them.
fn members_first(context: &Context, seen: &Inventory) -> Vec<String> {
    let members = context.desired.machines.iter().filter(|desired| desired.machine.role == Role::Etcd);
    let late = join_etcd::latecomers(context, seen);
    let new = members.filter(|it| change(it, seen).is_some() && !late.contains(&it.machine.name));
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

/// Fills in the name of the network card, which machines that are not made by us give their own.
async fn name_interface(context: &Context, name: &str, files: &mut [File], host: &dyn Host) -> Result<()> {
    let named = |file: &&mut File| String::from_utf8_lossy(&file.content).contains(INTERFACE);
    for file in files.iter_mut().filter(named) {
        let address = context.ledger.address(name).with_context(|| format!("{name} has no address"))?;
        let script = format!("ip -o -4 address show to {address} | awk '{{ print $2; exit }}'");
        let said = host.run(&Script::new(script)).await?.text();
        let interface = said.trim();
        ensure!(!interface.is_empty(), "no network card of {name} has the address {address}");
        file.content = String::from_utf8_lossy(&file.content).replace(INTERFACE, interface).into();
    }
    Ok(())
}

/// Always renews: the run that brought the files may have been killed before it.
fn renew(desired: &DesiredHost) -> String {
    let names: Vec<_> = desired.services.iter().map(|service| service.name).collect();
    // Reading all units again is most of the work for a small machine: it is done once.
    let mut script = format!(
        "mkdir -p /etc/kubernetes/manifests /var/lib/provision
systemctl enable --quiet --no-reload {}
systemctl daemon-reload
[ ! -e /etc/systemd/system/provision-masquerade.service ] || systemctl reload-or-restart provision-masquerade
",
        names.join(" ")
    );
    for service in &desired.services {
        let _ = writeln!(script, "systemctl {} {}", service.renew, service.name);
    }
    let _ = write!(
        script,
        "printf '%s\\n' {} >/var/lib/provision/configured.new
mv /var/lib/provision/configured.new /var/lib/provision/configured",
        desired.hash
    );
    script
}
