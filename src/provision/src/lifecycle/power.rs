//! Powers a whole cluster off and on again.
//!
//! What is meant is kept first: a run that is killed half-way leaves a cluster that says what it should become.

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::{START, STOP, converge};
use crate::context::Context;
use crate::plan::Plan;
use crate::world::existing;

/// Powers every machine off, in the order in which they need each other.
pub async fn stop(context: &Context, token: &CancellationToken) -> Result<Plan> {
    existing::refuse_power(&context.desired)?;
    context.state.set_stopped(true)?;
    converge(STOP, context, token).await
}

/// Powers every machine on, and waits until every API server and every Node is ready.
pub async fn start(context: &Context, token: &CancellationToken) -> Result<Plan> {
    context.state.set_stopped(false)?;
    converge(START, context, token).await
}

#[cfg(test)]
mod tests;
