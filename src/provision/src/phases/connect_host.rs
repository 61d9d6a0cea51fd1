//! Waits until a machine can be reached by SSH, and learns its host key over its console before the first SSH byte.

use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;

use super::{create_machine, leave_etcd, start_machine};
use crate::context::Context;
use crate::exit::{Exit, Refusal, classify, hint};
use crate::inventory::Inventory;
use crate::lifecycle::Phase;
use crate::plan::{Action, Step};
use crate::world::Power;

pub(crate) const NAME: &str = "connect-host";

/// From the host key on the console to sshd listening, on an emulated machine among many.
const PATIENCE: Duration = Duration::from_mins(2);

/// One step for each machine that could not be reached.
pub(crate) struct ConnectHost;

impl Phase for ConnectHost {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan(&self, context: &Context, seen: &Inventory) -> Vec<Step> {
        let recalled = leave_etcd::recalled(context, seen);
        let machines = context.desired.machines.iter().map(|desired| &desired.machine.name).chain(&recalled);
        let reason = |name: &String| match seen.survey.machines.get(name) {
            Some(Power::On) if seen.is_silent(context, name) => {
                "it runs and does not answer by SSH: what it needs is seen then"
            }
            _ => "it cannot be reached by SSH yet",
        };
        machines
            .filter(|name| !seen.hosts.contains_key(*name))
            .map(|name| {
                Step::new(NAME, name, Action::Wait, reason(name))
                    .after([Step::name(create_machine::NAME, name), Step::name(start_machine::NAME, name)])
            })
            .collect()
    }

    fn carry_out<'a>(&'a self, context: &'a Context, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if !context.host_key_known(&step.subject) {
                let key = context.infrastructure.host_key(&step.subject).await?;
                context.ledger.learn_host_key(&step.subject, &key)?;
            }
            context.timeline.mark("boot");
            context.hosts.connect(&step.subject, PATIENCE).await.map_err(|error| with_cure(context, error))?;
            context.timeline.mark("ssh");
            Ok(())
        })
    }
}

/// A machine that does not answer is left as it is: what to do about it is for people to say.
fn with_cure(context: &Context, error: anyhow::Error) -> anyhow::Error {
    if classify(&error) != Exit::Failed || hint(&error).is_some() {
        return error;
    }
    let cure = if context.desired.allocations.hosts.is_some() {
        "see that it runs and that SSH reaches it, then run the same command again; nothing of it was changed"
    } else {
        "`provision console` shows what it says; switch it off and the next run starts it, ask for one machine less and it is \
         removed; nothing of it was changed"
    };
    Refusal::new(Exit::Failed, format!("{error:#}")).hint(cure).into()
}
