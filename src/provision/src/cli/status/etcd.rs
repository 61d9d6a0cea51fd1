//! The members of etcd, each as its own machine tells.

use std::collections::BTreeSet;

use serde::Serialize;

use super::look::{Raw, Unseen};
use super::model::Notes;
use crate::context::Context;
use crate::world::{EtcdLook, EtcdMember};

/// A member of etcd.
#[derive(Debug, Serialize)]
pub(crate) struct Member {
    pub(super) name: String,
    pub(super) id: String,
    /// `leader`, `follower`, `learner`, `leaderless`, `unreachable` or `unknown`.
    pub(super) state: &'static str,
    pub(super) version: String,
    pub(super) bytes: u64,
}

/// All members that any member knows; one that does not answer is known by the others.
pub(super) fn members(context: &Context, raw: &Raw, notes: &mut Notes) -> Vec<Member> {
    let looks: Vec<&EtcdLook> = raw.etcd.values().flatten().collect();
    // Who sees a leader knows best.
    let listed = looks.iter().max_by_key(|look| (look.leader != 0, look.members.len())).map(|look| &look.members);
    let Some(listed) = listed.filter(|listed| !listed.is_empty()) else {
        for (name, why) in failures(raw) {
            notes.unseen(name, why);
        }
        return Vec::new();
    };
    let members: Vec<Member> = listed.iter().map(|listed| member(listed, &looks, raw, notes)).collect();
    let wanted: BTreeSet<String> = context.desired.etcd().into_iter().collect();
    for Member { name, id, .. } in members.iter().filter(|member| !wanted.contains(&member.name)) {
        notes.problem(format!("etcd: member {name:?} ({id}) is no machine of the topology"));
    }
    // Those who have not joined yet, or never will.
    for (name, why) in failures(raw).filter(|(name, _)| !members.iter().any(|member| member.name == **name)) {
        notes.unseen(name, why);
    }
    members
}

fn failures(raw: &Raw) -> impl Iterator<Item = (&String, &Unseen)> {
    raw.etcd.iter().filter_map(|(name, look)| Some((name, look.as_ref().err()?)))
}

fn member(listed: &EtcdMember, looks: &[&EtcdLook], raw: &Raw, notes: &mut Notes) -> Member {
    let EtcdMember { name, learner, .. } = listed;
    let id = format!("{:x}", listed.id);
    let own = looks.iter().find(|look| look.id == listed.id);
    let state = match own {
        Some(_) if *learner => "learner",
        Some(own) if own.leader == own.id => "leader",
        Some(own) if own.leader == 0 => "leaderless",
        Some(_) => "follower",
        None => match raw.etcd.get(name) {
            Some(Err(why)) => why.word("unreachable"),
            _ => "unreachable",
        },
    };
    match (state, raw.etcd.get(name)) {
        ("unknown", Some(Err(why))) => notes.unseen(&format!("etcd: member {name} ({id})"), why),
        ("unreachable", Some(Err(why))) => notes.problem(format!("etcd: member {name} ({id}) does not answer: {why}")),
        ("unreachable", _) => notes.problem(format!("etcd: member {name} ({id}) does not answer")),
        ("leaderless", _) => notes.problem(format!("etcd: member {name} sees no leader")),
        ("learner", _) => notes.problem(format!("etcd: member {name} has no vote yet")),
        _ => {}
    }
    // That there is no leader was said before.
    for complaint in own.iter().filter(|own| own.leader != 0).flat_map(|own| &own.complaints) {
        notes.problem(format!("etcd: member {name} says: {complaint}"));
    }
    Member {
        name: name.clone(),
        id,
        state,
        version: own.map_or(String::new(), |own| own.version.clone()),
        bytes: own.map_or(0, |own| own.bytes),
    }
}
