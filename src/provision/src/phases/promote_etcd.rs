//! Gives a member that has learnt everything its vote.

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;

use super::{configure_host, join_etcd};
use crate::context::Context;
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};
use crate::state::Seat;

pub(crate) const NAME: &str = "promote-etcd";

/// One step for each member without a vote.
pub(crate) struct PromoteEtcd;

impl Phase for PromoteEtcd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let joiners = join_etcd::joiners(context, seen);
        let step = |name: &String| {
            Step::new(NAME, name, Action::InPlace, "its etcd member has no vote")
                .after([Step::name(join_etcd::NAME, name), Step::name(configure_host::NAME, name)])
        };
        joiners.iter().map(step).collect()
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let name = &step.subject;
            let peer = join_etcd::peer(context, name)?;
            let (via, members) = join_etcd::voter(context, name).await?;
            let own = members.iter().find(|member| member.peer == peer);
            let own = own.with_context(|| format!("etcd knows no member at {peer}"))?;
            if own.learner {
                context.etcd.promote(&via, own.id).await?;
            }
            let seat = context.ledger.seat(name).with_context(|| format!("{name} has no place in etcd"))?;
            context.ledger.take_seat(name, Seat { voter: true, ..seat })
        })
    }
}
