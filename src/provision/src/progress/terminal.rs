//! One line a machine, with its step and the time that it takes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Progress, StepEvent, StepState, words};

/// How often the elapsed time on the screen moves.
const TICK: Duration = Duration::from_millis(100);

/// For a person who watches.
pub(super) struct Terminal {
    screen: MultiProgress,
    lines: Mutex<BTreeMap<String, Line>>,
}

struct Line {
    bar: ProgressBar,
    running: Vec<String>,
    failed: bool,
}

impl Terminal {
    pub(super) fn new() -> Self {
        Self { screen: MultiProgress::new(), lines: Mutex::default() }
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<String, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line<'a>(&self, lines: &'a mut BTreeMap<String, Line>, subject: &str) -> &'a mut Line {
        lines.entry(subject.to_owned()).or_insert_with(|| {
            let bar = self.screen.add(ProgressBar::new_spinner());
            let style = ProgressStyle::with_template("{spinner:.cyan} {prefix:<28} {msg} {elapsed:.dim}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_prefix(subject.to_owned());
            bar.enable_steady_tick(TICK);
            Line { bar, running: Vec::new(), failed: false }
        })
    }
}

impl Progress for Terminal {
    fn step(&self, event: &StepEvent<'_>) {
        let mut lines = self.lines();
        let line = self.line(&mut lines, event.subject);
        let phase = words(event.phase);
        match event.state {
            StepState::Started => line.running.push(phase.clone()),
            StepState::Finished => line.running.retain(|running| *running != phase),
            StepState::Failed => {
                line.failed = true;
                line.running.retain(|running| *running != phase);
                line.bar.abandon_with_message(format!("{phase} failed"));
            }
        }
        if !line.failed {
            let message = if line.running.is_empty() { format!("{phase} done") } else { line.running.join(", ") };
            line.bar.set_message(message);
        }
    }

    fn detail(&self, subject: &str, detail: &str) {
        let mut lines = self.lines();
        let line = self.line(&mut lines, subject);
        if let Some(step) = line.running.last() {
            line.bar.set_message(format!("{step}: {detail}"));
        }
    }

    fn close(&self) {
        for line in self.lines().values().filter(|line| !line.failed) {
            line.bar.finish_with_message("done");
        }
    }
}
