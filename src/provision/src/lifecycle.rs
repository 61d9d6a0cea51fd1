//! The story of a cluster: which phases make it, and which take it down. Read this first.
//!
//! A phase is one file in `phases/`: it plans its steps from what is wanted and what is seen, and carries each of them
//! out. A phase decides nothing while it acts. To add one: a new file, a line here, a test.

mod departures;
pub mod power;

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

pub use self::departures::{departures, mark};

use crate::context::Context;
use crate::execute::{Carrier, Observers, execute};
use crate::exit::{Exit, Refusal};
use crate::inventory::{Inventory, observe};
use crate::journal::Journal;
use crate::phases::{
    configure_host, connect_host, create_machine, create_network, drain_node, forget_machine, install_addons,
    install_components, join_etcd, leave_etcd, mark_node, prepare_image, promote_etcd, remove_machine, remove_network,
    retire_machine, start_control_plane, start_machine, stop_machine, stop_network, verify_cluster, wait_first_pod,
    wait_node,
};
use crate::plan::{Plan, Step};

/// Makes the cluster as the topology asks, from nothing or from whatever there is.
pub const UP: &[&dyn Phase] = &[
    &prepare_image::PrepareImage,
    &create_network::CreateNetwork,
    &create_machine::CreateMachine,
    &connect_host::ConnectHost,
    &install_components::InstallComponents,
    &join_etcd::JoinEtcd,
    &configure_host::ConfigureHost,
    &promote_etcd::PromoteEtcd,
    &start_control_plane::StartControlPlane,
    &install_addons::InstallAddons,
    &wait_first_pod::WaitFirstPod,
    &mark_node::MarkNode,
    &wait_node::WaitNode,
    &drain_node::DrainNode,
    &leave_etcd::LeaveEtcd,
    &retire_machine::RetireMachine,
    &forget_machine::ForgetMachine,
    &verify_cluster::VerifyCluster,
];

/// Takes everything away that the cluster was given.
pub const DOWN: &[&dyn Phase] = &[&remove_machine::RemoveMachine, &remove_network::RemoveNetwork];

/// Powers everything off and keeps it.
pub const STOP: &[&dyn Phase] = &[&stop_machine::StopMachine, &stop_network::StopNetwork];

/// Powers everything on again, until every API server and every Node is ready.
pub const START: &[&dyn Phase] = &[
    &create_network::CreateNetwork,
    &start_machine::StartMachine,
    &connect_host::ConnectHost,
    &start_control_plane::StartControlPlane,
    &wait_node::WaitNode,
];

/// How often a run may look again and go on before it gives up; one round makes a cluster, the second finds nothing to do.
const MOST_ROUNDS: usize = 4;

/// One kind of change.
pub trait Phase: Sync {
    /// Its name, a verb and a noun: the file it lives in, with dashes.
    fn name(&self) -> &'static str;

    /// The steps that make what is seen into what is wanted. Pure.
    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step>;

    /// What must not be begun: known from what is wanted and seen, before anything is done. Pure.
    fn refuse(&self, _context: &Context, _seen: &Inventory) -> Result<()> {
        Ok(())
    }

    /// Carries out one of its steps; doing it twice is the same as doing it once.
    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>>;
}

/// The whole plan of a list of phases. What a machine needs that could not be asked, and what waits for that, is decided by
/// the next plan: a machine that is slow is not one that has nothing. So is who joins etcd and who leaves it, as long as members
/// that go have to come back for it.
pub fn plan(phases: &[&dyn Phase], context: &Context, seen: &Inventory) -> Plan {
    let steps = phases.iter().flat_map(|phase| phase.plan(context, seen)).collect();
    let asks = [install_components::NAME, configure_host::NAME];
    let (votes, recalls) = ([join_etcd::NAME, leave_etcd::NAME], !leave_etcd::recalled(context, seen).is_empty());
    let open = |step: &Step| {
        (asks.contains(&step.phase) && seen.is_silent(context, &step.subject))
            || (recalls && votes.contains(&step.phase))
    };
    Plan::of_decided(steps, open)
}

/// What the caller says to each plan before it is carried out; rounds are counted from 0.
pub type Gate<'a> = &'a (dyn Fn(usize, &Plan) -> Result<()> + Sync);

/// The whole plan, unless one of the phases refuses to begin.
pub fn checked_plan(phases: &[&dyn Phase], context: &Context, seen: &Inventory) -> Result<Plan> {
    phases.iter().try_for_each(|phase| phase.refuse(context, seen))?;
    Ok(plan(phases, context, seen))
}

/// Looks, plans and executes until there is nothing left to do; returns the first plan.
pub async fn converge(phases: &[&dyn Phase], context: &Context, token: &CancellationToken) -> Result<Plan> {
    converge_through(phases, context, token, &|_, _| Ok(())).await
}

/// The same, with every plan shown to `gate` before anything of it is done.
pub async fn converge_through(
    phases: &[&dyn Phase],
    context: &Context,
    token: &CancellationToken,
    gate: Gate<'_>,
) -> Result<Plan> {
    let mut first = None;
    for round in 0..MOST_ROUNDS {
        let seen = tokio::select! {
            biased;
            () = token.cancelled() => return Err(Refusal::new(Exit::Interrupted, "interrupted").into()),
            seen = observe(context) => seen?,
        };
        if seen.cluster.ready {
            // The run that brought it so far may have been killed before it could write that down. Nor is it written down
            // now: nobody has agreed to anything yet.
            context.ledger.note_founded();
        }
        let plan = checked_plan(phases, context, &seen)?;
        let first = first.get_or_insert_with(|| plan.clone());
        if plan.is_empty() {
            context.ledger.save()?;
            return Ok(first.clone());
        }
        if round == 0 {
            mark_what_is_there(context, &seen);
        }
        gate(round, &plan)?;
        context.ledger.save()?;
        context.progress.plan(plan.steps.len());
        let journal = Journal::open(&context.state)?;
        let observers = Observers { journal: &journal, progress: &context.progress };
        execute(&plan, &PhaseCarrier { phases, context }, &observers, token).await?;
    }
    Err(Refusal::new(Exit::Failed, format!("still not as asked after {MOST_ROUNDS} rounds"))
        .hint("`provision plan` shows what is left to do")
        .into())
}

/// A run that goes on where another one ended finds milestones reached; those that it reaches itself count more.
fn mark_what_is_there(context: &Context, seen: &Inventory) {
    if seen.survey.image {
        context.timeline.mark("image");
    }
    if !seen.hosts.is_empty() {
        context.timeline.mark("boot");
        context.timeline.mark("ssh");
    }
    if seen.hosts.values().any(|host| host.components == context.desired.components.tag) {
        context.timeline.mark("copy");
    }
}

struct PhaseCarrier<'a> {
    phases: &'a [&'a dyn Phase],
    context: &'a Context,
}

impl Carrier for PhaseCarrier<'_> {
    fn carry_out<'a>(&'a self, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        let phase = self.phases.iter().find(|phase| phase.name() == step.phase);
        Box::pin(async move {
            let phase = phase.with_context(|| format!("no phase is called {}", step.phase))?;
            phase.carry_out(self.context, step).await
        })
    }
}

#[cfg(test)]
mod tests;
