//! Which machines go when fewer of their kind are asked for: those whose end does the least harm. Pure.
//!
//! Machines of one role are put in this order, and the first ones go:
//!
//! 1. those that do not work: switched off, or not to be reached and without a Ready Node, or their etcd member does not run;
//! 2. those whose etcd member has no vote yet;
//! 3. those that do not lead etcd: the leader goes only where there is no other choice;
//! 4. those whose Node is not Ready;
//! 5. those whose Node takes no new pods: somebody has begun to empty it;
//! 6. those with fewer pods that cannot move: pods without a controller, or that a budget keeps where they are;
//! 7. the newest, that is the one with the highest number.
//!
//! Whoever was chosen is marked `leaving` before anything is done to it, and goes whatever is seen later.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use topology::{Role, Topology};

use crate::allocate;
use crate::inventory::Inventory;
use crate::state::Allocations;
use crate::world::{Burden, Power};

/// What is seen besides the inventory where there is a choice.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The machine whose member leads etcd.
    pub leader: Option<String>,
    /// What Nodes carry.
    pub burdens: BTreeMap<String, Burden>,
}

/// Machines of one role of which fewer are asked for than there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surplus {
    /// Their role.
    pub role: Role,
    /// All that could go.
    pub machines: Vec<String>,
    /// How many of them must.
    pub count: usize,
}

/// One machine that could go; the order of the fields is the order of the choice, `false` goes before `true`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own, asked in this order")]
struct Harm {
    works: bool,
    votes: bool,
    leads: bool,
    ready: bool,
    schedulable: bool,
    stuck: usize,
    age: Reverse<usize>,
}

/// Where there is a choice: not where every machine of a role goes, and not where those that go were chosen before.
pub fn surpluses(topology: &Topology, allocations: &Allocations) -> Vec<Surplus> {
    let mut surpluses = Vec::new();
    if topology.cluster().spec.infrastructure.hosts.is_some() {
        // Machines that exist already are named, not counted.
        return surpluses;
    }
    let asked = topology.machines();
    for group in asked.chunk_by(|a, b| a.role == b.role) {
        let role = &group[0].role;
        let staying =
            allocations.machines.iter().filter(|(_, machine)| machine.role == role.slug() && !machine.leaving);
        let machines: Vec<String> = staying.map(|(name, _)| name.clone()).collect();
        if machines.len() > group.len() {
            surpluses.push(Surplus { role: role.clone(), count: machines.len() - group.len(), machines });
        }
    }
    surpluses
}

/// The machines of a surplus that go, each with the reason.
pub fn choose(
    surplus: &Surplus,
    (topology, allocations): (&Topology, &Allocations),
    (seen, facts): (&Inventory, &Facts),
) -> BTreeMap<String, String> {
    let harm = |name: &String| {
        let host = seen.hosts.get(name);
        let ready = seen.cluster.ready_nodes.contains(name);
        let answers = seen.survey.machines.get(name) == Some(&Power::On) && (host.is_some() || ready);
        let has_member = topology.has_etcd(&surplus.role);
        let seat = allocations.machines.get(name).and_then(|machine| machine.etcd.as_ref());
        let burden = facts.burdens.get(name).copied().unwrap_or_default();
        Harm {
            works: answers && !(has_member && host.is_some_and(|host| !host.member)),
            votes: seat.is_none_or(|seat| seat.voter),
            leads: facts.leader.as_ref() == Some(name),
            ready,
            schedulable: !burden.cordoned,
            stuck: burden.stuck,
            age: Reverse(allocate::number_of(topology, &surplus.role, name)),
        }
    };
    let mut ranked: Vec<(Harm, &String)> = surplus.machines.iter().map(|name| (harm(name), name)).collect();
    ranked.sort();
    let (going, staying) = ranked.split_at(surplus.count.min(ranked.len()));
    let reason = |harm: &Harm| match staying.first() {
        Some((next, _)) => format!("fewer are asked for, and {}", harm.difference(next)),
        None => "no machine of its kind is asked for".to_owned(),
    };
    going.iter().map(|(harm, name)| ((*name).clone(), reason(harm))).collect()
}

impl Harm {
    /// Why this one goes before the other.
    fn difference(&self, other: &Self) -> &'static str {
        let differences = [
            (self.works != other.works, "it does not work"),
            (self.votes != other.votes, "it has no vote in etcd yet"),
            (self.leads != other.leads, "it does not lead etcd"),
            (self.ready != other.ready, "its Node is not Ready"),
            (self.schedulable != other.schedulable, "its Node takes no new pods"),
            (self.stuck != other.stuck, "fewer pods on it cannot move"),
        ];
        differences.into_iter().find(|(differs, _)| *differs).map_or("it is the newest", |(_, why)| why)
    }
}

#[cfg(test)]
mod tests;
