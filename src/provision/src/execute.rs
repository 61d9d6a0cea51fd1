//! Carries out a plan: every step as soon as the steps before it have ended well, side by side.
//!
//! The executor decides nothing. A failed step takes down the steps that wait for it and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Refusal};
use crate::journal::{Happened, Journal};
use crate::plan::{Plan, Step};
use crate::progress::{Progress, StepEvent};

/// Carries out one step.
pub trait Carrier: Sync {
    /// Makes the step true; doing it twice is the same as doing it once.
    fn carry_out<'a>(&'a self, step: &'a Step) -> futures::future::BoxFuture<'a, Result<()>>;
}

/// Where the run is written down.
pub struct Observers<'a> {
    /// The journal.
    pub journal: &'a Journal,
    /// What the user sees.
    pub progress: &'a Arc<dyn Progress>,
}

/// Runs the whole plan.
///
/// # Errors
/// The first failure, after the steps that do not depend on it have ended; [`Exit::Interrupted`] if `token` was
/// cancelled. The world stays in a state that another run can go on from.
pub async fn execute(
    plan: &Plan,
    carrier: &dyn Carrier,
    observers: &Observers<'_>,
    token: &CancellationToken,
) -> Result<()> {
    let mut waiting = Waiting::new(plan);
    let mut ready: Vec<&Step> = plan.steps.iter().filter(|step| !must_wait(step)).collect();
    let mut running = FuturesUnordered::new();
    let mut failure = None;
    loop {
        for step in ready.drain(..) {
            running.push(async move { (step, run_step(step, carrier, observers).await) });
        }
        let ended = tokio::select! {
            biased;
            () = token.cancelled() => return Err(interrupted().into()),
            ended = running.next() => ended,
        };
        match ended {
            None => break,
            Some((step, Ok(()))) => {
                ready = waiting.done(&step.id);
            }
            Some((step, Err(error))) => {
                let error = error.context(format!("{}: {} failed", step.subject, step.phase));
                if let Some(first) = &failure {
                    tracing::debug!(first = %first, "a further step failed: {error:#}");
                } else {
                    failure = Some(error);
                }
            }
        }
    }
    match (failure, waiting.first()) {
        (Some(failure), _) => Err(failure),
        // Without a failure only steps that wait for each other are left over.
        (None, Some(id)) => anyhow::bail!("{id} waits for itself: the plan has a circle"),
        (None, None) => Ok(()),
    }
}

/// Steps that wait for others; thousands of them cost no more than their dependencies.
struct Waiting<'a> {
    /// How many ends each one still waits for; the first of several is one.
    open: BTreeMap<&'a str, usize>,
    /// The steps that wait for each one.
    behind: BTreeMap<&'a str, Vec<&'a Step>>,
    /// The steps for which each one is enough, if it is the first of several.
    racing: BTreeMap<&'a str, Vec<&'a Step>>,
    /// Those that have seen the first of several end.
    served: BTreeSet<&'a str>,
}

fn must_wait(step: &Step) -> bool {
    !(step.after.is_empty() && step.after_any.is_empty())
}

impl<'a> Waiting<'a> {
    fn new(plan: &'a Plan) -> Self {
        let (mut open, mut behind) = (BTreeMap::new(), BTreeMap::<&str, Vec<&Step>>::new());
        let mut racing = BTreeMap::<&str, Vec<&Step>>::new();
        for step in plan.steps.iter().filter(|step| must_wait(step)) {
            open.insert(step.id.as_str(), step.after.len() + usize::from(!step.after_any.is_empty()));
            step.after.iter().for_each(|id| behind.entry(id.as_str()).or_default().push(step));
            step.after_any.iter().for_each(|id| racing.entry(id.as_str()).or_default().push(step));
        }
        Self { open, behind, racing, served: BTreeSet::new() }
    }

    /// The steps that can begin now that this one has ended well.
    fn done(&mut self, id: &str) -> Vec<&'a Step> {
        let mut behind = self.behind.remove(id).unwrap_or_default();
        let racing = self.racing.remove(id).unwrap_or_default();
        behind.extend(racing.into_iter().filter(|step| self.served.insert(step.id.as_str())));
        behind.retain(|step| {
            let Some(open) = self.open.get_mut(step.id.as_str()) else { return false };
            *open -= 1;
            let ready = *open == 0;
            if ready {
                self.open.remove(step.id.as_str());
            }
            ready
        });
        behind
    }

    /// One that still waits.
    fn first(&self) -> Option<&'a str> {
        self.open.keys().next().copied()
    }
}

async fn run_step(step: &Step, carrier: &dyn Carrier, observers: &Observers<'_>) -> Result<()> {
    observers.journal.record(&step.id, Happened::Started, "")?;
    observers.progress.step(&StepEvent::started(step));
    let began = std::time::Instant::now();
    let result = carrier.carry_out(step).await;
    match &result {
        Ok(()) => {
            observers.progress.step(&StepEvent::finished(step, began.elapsed()));
            observers.journal.record(&step.id, Happened::Finished, "")?;
        }
        Err(error) => {
            let detail = format!("{error:#}");
            observers.progress.step(&StepEvent::failed(step, began.elapsed(), &detail));
            observers.journal.record(&step.id, Happened::Failed, &detail)?;
        }
    }
    result
}

fn interrupted() -> Refusal {
    Refusal::new(Exit::Interrupted, "interrupted")
        .hint("run the same command again to go on, or `provision destroy` to undo")
}

#[cfg(test)]
mod tests;
