//! Takes a machine that goes out of etcd, before it is switched off.

use anyhow::{Result, ensure};
use futures::future::BoxFuture;

use super::{configure_host, drain_node, join_etcd, promote_etcd, start_control_plane};
use crate::context::Context;
use crate::exit::{Exit, Refusal};
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};
use crate::world::{EtcdMember, Power};

pub(crate) const NAME: &str = "leave-etcd";

/// One step for each member whose machine goes; one after the other.
pub(crate) struct LeaveEtcd;

impl Phase for LeaveEtcd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let (mut voters, others): (Vec<String>, Vec<String>) =
            leavers(context).into_iter().partition(|name| join_etcd::is_voter(context, name));
        // Those that do not run first: as long as they have a vote, the others are needed for a majority.
        voters.sort_by_key(|name| runs(seen, name));
        // Etcd takes one learner at a time, and none while a voter does not run: those that nobody wants any more make room.
        for (name, votes) in others.iter().map(|name| (name, false)).chain(voters.iter().map(|name| (name, true))) {
            let earlier = steps.last().map(|step| step.id.clone());
            let mut step = Step::new(NAME, name, Action::Destroy, "its member is asked for no more").after(earlier);
            if !seen.cluster.ready {
                // Nobody lets it go before most of those that stay are there.
                step = step.after(join_etcd::voters_first(context, seen));
            }
            if votes && runs(seen, name) {
                // Those that ask it must ask others before it goes, and those that follow it must be there.
                let clients = context.desired.control_planes();
                step = step
                    .after([Step::name(drain_node::NAME, name)])
                    .after(start_control_plane::steps(context, seen))
                    .after(clients.iter().map(|client| Step::name(configure_host::NAME, client)))
                    .after(join_etcd::joiners(context, seen).iter().map(|name| Step::name(promote_etcd::NAME, name)));
            }
            steps.push(step);
        }
        steps
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let name = &step.subject;
            if !context.ledger.founded() {
                return Ok(());
            }
            context.ledger.mark_leaving(name)?;
            let peer = join_etcd::peer(context, name)?;
            let (mut via, mut members) = join_etcd::voter(context, name).await?;
            let Some(own) = members.iter().find(|member| member.peer == peer).cloned() else { return Ok(()) };
            refuse_loss(&own, &members)?;
            if own.leader {
                // Not to one that may be the next to go; and who is asked next knows of it, when others may not have heard yet.
                let others = members.iter().filter(|member| !member.learner && member.id != own.id);
                let heir = others.min_by_key(|member| member.name != via);
                if let Some(heir) = heir {
                    context.etcd.move_leader(name, heir.id).await?;
                }
                (via, members) = join_etcd::voter(context, name).await?;
            }
            ensure!(!members.iter().any(|member| member.leader && member.id == own.id), "{name} still leads etcd");
            context.etcd.remove(&via, own.id).await
        })
    }
}

/// Members that go, are switched off, and without which etcd has no majority: they come back before anything is decided about
/// its members, as it takes their votes to let them go.
///
/// What was written down may lag behind what etcd decided, so whoever may have a vote is counted as a voter, and of those only
/// members that stay are counted on. To start one for nothing does no harm.
pub(crate) fn recalled(context: &Context, seen: &Inventory) -> Vec<String> {
    // Nobody switches on a machine that was there before us.
    if seen.cluster.ready || !context.ledger.founded() || context.desired.allocations.hosts.is_some() {
        return Vec::new();
    }
    let mut leavers = leavers(context);
    leavers.retain(|name| context.ledger.is_founder(name) || context.ledger.seat(name).is_some());
    let staying = context.desired.etcd();
    // One that runs and cannot be asked may have no member that does.
    let silent = |name: &String| seen.survey.machines.get(name) == Some(&Power::On) && !seen.hosts.contains_key(name);
    let sure = staying.iter().filter(|name| join_etcd::votes(context, seen, name) && !silent(name)).count();
    if sure * 2 > staying.len() + leavers.len() {
        return Vec::new();
    }
    leavers.retain(|name| seen.survey.machines.get(name) == Some(&Power::Off));
    leavers
}

fn leavers(context: &Context) -> Vec<String> {
    let members = context.leavers().into_iter().filter(|leaver| context.desired.topology.has_etcd(&leaver.role));
    members.map(|leaver| leaver.name.clone()).collect()
}

/// The steps after which no learner is left that nobody wants, nor a voter that does not run: etcd takes no other before.
pub(crate) fn room_for_learners(context: &Context, seen: &Inventory) -> Vec<String> {
    let others = leavers(context).into_iter().filter(|name| !join_etcd::is_voter(context, name) || !runs(seen, name));
    others.map(|name| Step::name(NAME, &name)).collect()
}

fn runs(seen: &Inventory, name: &str) -> bool {
    seen.hosts.get(name).is_some_and(|host| host.member)
}

/// What is left must be able to decide without the member that goes.
fn refuse_loss(own: &EtcdMember, members: &[EtcdMember]) -> Result<()> {
    let left = members.iter().filter(|member| !member.learner && member.id != own.id).count();
    if own.learner || left > 0 {
        return Ok(());
    }
    let message = format!("{} is the only voter of etcd: without it, everything the cluster knows is lost", own.name);
    Err(Refusal::new(Exit::Failed, message).hint("let another member join first, or destroy the cluster").into())
}
