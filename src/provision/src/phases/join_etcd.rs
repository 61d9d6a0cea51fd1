//! Adds a machine to an etcd that has begun: as a learner, before its member starts.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::{configure_host, connect_host, leave_etcd, promote_etcd, start_control_plane};
use crate::context::Context;
use crate::exit::{Exit, Refusal};
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};
use crate::state::Seat;
use crate::world::EtcdMember;

pub(crate) const NAME: &str = "join-etcd";

/// How long etcd may take to have a leader: its members may have just started, and where machines are emulated it takes them
/// several elections.
const ELECTION: Duration = Duration::from_secs(30);
/// The same by the pause of real members, for those that take no time.
const QUESTIONS: u32 = 300;

/// One step for each machine that shall run a member and has no place yet; one after the other.
pub(crate) struct JoinEtcd;

/// The machines that must join, in the order in which they do.
pub(crate) fn joiners(context: &Context, seen: &Inventory) -> Vec<String> {
    let mut members = context.desired.etcd();
    members.retain(|name| !votes(context, seen, name));
    members
}

/// Those of them that wait until an API server says that etcd has begun: no API server may wait for them.
pub(crate) fn latecomers(context: &Context, seen: &Inventory) -> Vec<String> {
    if context.ledger.founded() { Vec::new() } else { joiners(context, seen) }
}

/// Whether the machine has a member with a vote; what it knew once goes with its disk.
pub(crate) fn votes(context: &Context, seen: &Inventory, name: &str) -> bool {
    is_voter(context, name) && !loses_disk(context, seen, name)
}

/// Whether the machine was given a vote.
pub(crate) fn is_voter(context: &Context, name: &str) -> bool {
    context.ledger.is_founder(name) || context.ledger.seat(name).is_some_and(|seat| seat.voter)
}

fn loses_disk(context: &Context, seen: &Inventory, name: &str) -> bool {
    context.ledger.founded() && !seen.survey.machines.contains_key(name)
}

impl Phase for JoinEtcd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn refuse(&self, context: &Context, seen: &Inventory) -> Result<()> {
        let members = context.desired.etcd();
        if !context.ledger.founded() {
            return refuse_other_founders(context, &members);
        }
        if members.iter().any(|name| votes(context, seen, name)) {
            return Ok(());
        }
        let message = "every member of etcd has lost its disk, and with them went all that the cluster knew";
        Err(Refusal::new(Exit::Failed, message)
            .hint("`provision destroy` takes away what is left; then apply again, or restore a backup")
            .into())
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut before: Option<String> = None;
        let joiners = joiners(context, seen);
        for name in joiners.clone() {
            // A vote is never added while another one is on its way.
            let earlier = before.replace(name.clone()).map(|earlier| Step::name(promote_etcd::NAME, &earlier));
            if context.ledger.seat(&name).is_none() || loses_disk(context, seen, &name) {
                // Those who begin come first; they are control planes, or what control planes ask.
                let servers = context.desired.control_planes();
                let founders = servers.iter().filter(|server| !context.ledger.founded() && !joiners.contains(server));
                let (action, why) = if is_voter(context, &name) {
                    (Action::Replace, "its member of etcd went with its disk")
                } else {
                    (Action::Create, "it is not a member of etcd")
                };
                let step = Step::new(NAME, &name, action, why)
                    .after([Step::name(connect_host::NAME, &name)])
                    .after(founders.map(|founder| Step::name(start_control_plane::NAME, founder)))
                    .after(leave_etcd::room_for_learners(context, seen))
                    .after(voters_first(context, seen))
                    .after(earlier);
                steps.push(step);
            }
        }
        steps
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let name = &step.subject;
            let peer = peer(context, name)?;
            let (via, members) = voter(context, name).await?;
            for lost in lost_members(context, name, &members)? {
                context.etcd.remove(&via, lost.id).await?;
            }
            match members.iter().find(|member| member.peer == peer) {
                // What it knew went with its disk: it may not come back under its old identity.
                Some(lost) if !lost.name.is_empty() => {
                    context.etcd.remove(&via, lost.id).await?;
                    context.etcd.add_learner(&via, &peer).await?;
                }
                // An earlier run came so far.
                Some(_) => {}
                None => context.etcd.add_learner(&via, &peer).await?,
            }
            let members = context.etcd.members(&via).await?;
            ensure!(members.iter().any(|member| member.peer == peer), "etcd does not know {peer} after it was added");
            let seat = Seat { initial_cluster: initial_cluster(name, &peer, &members), voter: false };
            context.ledger.take_seat(name, seat)
        })
    }
}

/// The steps after which every voter runs that can, as etcd takes no learner before: those that were off come back, and those
/// that lost their disks are known to have.
pub(crate) fn voters_first(context: &Context, seen: &Inventory) -> Vec<String> {
    let idle = |name: &String| !seen.hosts.get(name).is_some_and(|host| host.member);
    let members = context.desired.etcd().into_iter().filter(|name| is_voter(context, name) && idle(name));
    let steps = members.flat_map(|name| {
        let phases: &[&str] = if loses_disk(context, seen, &name) {
            &[connect_host::NAME]
        } else {
            &[configure_host::NAME, start_control_plane::NAME]
        };
        phases.iter().map(|phase| Step::name(phase, &name)).collect::<Vec<_>>()
    });
    steps.collect()
}

/// Voters of other machines that nobody will start again: their disks were lost, and their machines have yet to join.
fn lost_members(context: &Context, than: &str, members: &[EtcdMember]) -> Result<Vec<EtcdMember>> {
    let mut lost = Vec::new();
    for name in context.desired.etcd() {
        if name == than || context.ledger.is_founder(&name) || context.ledger.seat(&name).is_some() {
            continue;
        }
        let peer = peer(context, &name)?;
        lost.extend(members.iter().find(|member| member.peer == peer && !member.name.is_empty()).cloned());
    }
    Ok(lost)
}

/// As long as nobody knows whether etcd has begun, it may have, and those who began it have to be there.
fn refuse_other_founders(context: &Context, members: &[String]) -> Result<()> {
    let mut founders = context.ledger.founders();
    founders.retain(|founder| !members.contains(founder));
    if founders.is_empty() {
        return Ok(());
    }
    let missing = founders.into_iter().collect::<Vec<_>>().join(", ");
    let name = context.desired.topology.name();
    let message = format!("etcd was to begin with {missing} too, and the run that made it has not ended well");
    Err(Refusal::new(Exit::Failed, message)
        .hint(format!("apply what was asked for before and then this, or `provision destroy {name}` and begin anew"))
        .into())
}

/// Where the other members reach this machine's.
pub(crate) fn peer(context: &Context, name: &str) -> Result<String> {
    let address = context.ledger.address(name).with_context(|| format!("{name} has no address"))?;
    Ok(format!("https://{address}:2380"))
}

/// A machine, other than `than`, that runs a voter and sees a leader; and what it sees. Asks until one does, for a while.
pub(crate) async fn voter(context: &Context, than: &str) -> Result<(String, Vec<EtcdMember>)> {
    let mut voters = context.desired.etcd();
    voters.retain(|name| name != than && is_voter(context, name));
    let deadline = Instant::now() + ELECTION;
    let mut why = "no other machine runs a member".to_owned();
    for _ in 0..QUESTIONS {
        for name in &voters {
            match context.etcd.members(name).await {
                Ok(members) => return Ok((name.clone(), members)),
                Err(error) => why = format!("{error:#}"),
            }
        }
        if voters.is_empty() || Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(context.etcd.pause()).await;
    }
    Err(Refusal::new(Exit::Failed, format!("no member of etcd can be asked: {why}"))
        .hint("bring back a majority of the members; if their disks are lost, destroy the cluster or restore a backup")
        .into())
}

fn initial_cluster(name: &str, peer: &str, members: &[EtcdMember]) -> String {
    let started = members.iter().filter(|member| !member.name.is_empty() && member.peer != peer);
    let named = started.map(|member| format!("{}={}", member.name, member.peer));
    named.chain([format!("{name}={peer}")]).collect::<Vec<_>>().join(",")
}
