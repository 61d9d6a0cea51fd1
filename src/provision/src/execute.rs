//! Carries out a plan: every step as soon as the steps before it have ended well, side by side.
//!
//! The executor decides nothing. A failed step takes down the steps that wait for it and no others.

use std::collections::BTreeSet;
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
    let mut waiting: Vec<&Step> = plan.steps.iter().collect();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut running = FuturesUnordered::new();
    let mut failure = None;
    loop {
        let (ready, rest): (Vec<&Step>, Vec<&Step>) =
            waiting.into_iter().partition(|step| step.after.iter().all(|id| done.contains(id.as_str())));
        waiting = rest;
        for step in ready {
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
                done.insert(&step.id);
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
        (None, Some(step)) => anyhow::bail!("{} waits for itself: the plan has a circle", step.id),
        (None, None) => Ok(()),
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
