//! One line an ended step, for logs.

use std::io::Write as _;
use std::time::Instant;

use super::{Progress, StepEvent, StepState, words};

/// For a standard error that is not a terminal.
pub(super) struct Plain {
    began: Instant,
}

impl Plain {
    pub(super) fn new() -> Self {
        Self { began: Instant::now() }
    }
}

impl Progress for Plain {
    fn step(&self, event: &StepEvent<'_>) {
        let outcome = match event.state {
            StepState::Started => return,
            StepState::Finished => "done".to_owned(),
            StepState::Failed => format!("failed: {}", event.error.unwrap_or_default()),
        };
        let line = format!(
            "{:>7.1}s  {:<28} {:<20} {:>6.1}s  {outcome}",
            self.began.elapsed().as_secs_f64(),
            event.subject,
            words(event.phase),
            event.seconds.unwrap_or_default()
        );
        // A reader that has gone away does not stop the run.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    fn detail(&self, _: &str, _: &str) {}

    fn close(&self) {}
}
