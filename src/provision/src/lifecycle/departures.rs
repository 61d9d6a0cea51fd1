//! Settles which machines go when fewer are asked for, before a plan is made.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::choice::{Facts, Surplus, choose, surpluses};
use crate::context::Context;
use crate::inventory::{Inventory, observe};
use crate::state::Allocations;

/// The machines that go because fewer of their role are asked for, each with the reason. Looks at the world only where
/// there is a choice, and changes nothing.
pub async fn departures(context: &Context) -> Result<BTreeMap<String, String>> {
    let (topology, allocations) = (&context.desired.topology, &context.desired.allocations);
    let surpluses = surpluses(topology, allocations);
    // Of machines that exist already, the topology says which go.
    if surpluses.is_empty() || allocations.hosts.is_some() {
        return Ok(BTreeMap::new());
    }
    let seen = observe(context).await?;
    let (leader, burdens) = tokio::join!(leader(context, &seen, &surpluses), context.cluster.burdens());
    let facts = Facts { leader, burdens };
    Ok(surpluses.iter().flat_map(|surplus| choose(surplus, (topology, allocations), (&seen, &facts))).collect())
}

/// Marks those that go; what was chosen once is not chosen again.
pub fn mark(allocations: &mut Allocations, departures: BTreeMap<String, String>) {
    for (name, reason) in departures {
        if let Some(machine) = allocations.machines.get_mut(&name) {
            (machine.leaving, machine.chosen) = (true, Some(reason));
        }
    }
}

/// The machine that leads etcd, if it matters and any member tells.
async fn leader(context: &Context, seen: &Inventory, surpluses: &[Surplus]) -> Option<String> {
    let members = surpluses.iter().filter(|surplus| context.desired.topology.has_etcd(&surplus.role));
    let running = members.flat_map(|surplus| &surplus.machines);
    for name in running.filter(|name| seen.hosts.get(*name).is_some_and(|host| host.member)) {
        match context.etcd.members(name).await {
            Ok(members) => return members.into_iter().find(|member| member.leader).map(|member| member.name),
            Err(error) => tracing::debug!("{name} does not say who leads etcd: {error:#}"),
        }
    }
    None
}
