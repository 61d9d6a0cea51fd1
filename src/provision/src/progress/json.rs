//! One JSON line an event, on standard error.

use std::io::Write as _;

use super::{Progress, StepEvent};

/// For programs that follow a run.
pub(super) struct Json;

impl Progress for Json {
    fn step(&self, event: &StepEvent<'_>) {
        if let Ok(line) = serde_json::to_string(event) {
            // A reader that has gone away does not stop the run.
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }

    fn detail(&self, _: &str, _: &str) {}

    fn close(&self) {}
}
