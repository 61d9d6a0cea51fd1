//! What the user sees while a plan is carried out.

mod board;
mod json;
mod plain;
mod terminal;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tracing::level_filters::LevelFilter;

use crate::plan::Step;

/// How output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one JSON document, or one JSON line an event.
    Json,
}

/// A step began or ended.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepEvent<'a> {
    /// The step's id.
    pub step: &'a str,
    /// The machine, or the cluster.
    pub subject: &'a str,
    /// The phase.
    pub phase: &'a str,
    /// Where the step is in its life.
    pub state: StepState,
    /// How long it took, in seconds; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
}

/// Where a step is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StepState {
    /// It runs.
    Started,
    /// It is done.
    Finished,
    /// It failed.
    Failed,
}

/// Shows progress.
pub trait Progress: Send + Sync {
    /// A plan of so many steps begins.
    fn plan(&self, _steps: usize) {}

    /// A step began or ended.
    fn step(&self, event: &StepEvent<'_>);

    /// A running step has come further: `detail` is a few words such as `412 of 526 MB`.
    fn detail(&self, subject: &str, detail: &str);

    /// Nothing more is shown for now: the run is over, or the user is asked something.
    fn close(&self);
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _: &StepEvent<'_>) {}
    fn detail(&self, _: &str, _: &str) {}
    fn close(&self) {}
}

/// The way to show progress that fits where standard error goes.
pub fn for_output(format: Format) -> Arc<dyn Progress> {
    use std::io::IsTerminal as _;
    match format {
        Format::Json => Arc::new(json::Json),
        // A log on the same terminal would tear the picture.
        Format::Text if std::io::stderr().is_terminal() && LevelFilter::current() == LevelFilter::OFF => {
            Arc::new(terminal::Terminal::new())
        }
        Format::Text => Arc::new(plain::Plain::new()),
    }
}

impl<'a> StepEvent<'a> {
    /// The step begins.
    pub fn started(step: &'a Step) -> Self {
        Self::of(step, StepState::Started, None, None)
    }

    /// The step is done.
    pub fn finished(step: &'a Step, took: Duration) -> Self {
        Self::of(step, StepState::Finished, Some(took), None)
    }

    /// The step failed.
    pub fn failed(step: &'a Step, took: Duration, error: &'a str) -> Self {
        Self::of(step, StepState::Failed, Some(took), Some(error))
    }

    fn of(step: &'a Step, state: StepState, took: Option<Duration>, error: Option<&'a str>) -> Self {
        let seconds = took.map(|took| took.as_secs_f64());
        Self { step: &step.id, subject: &step.subject, phase: step.phase, state, seconds, error }
    }
}

/// A phase as people read it: `create-machine` is "create machine".
fn words(phase: &str) -> String {
    phase.replace('-', " ")
}
