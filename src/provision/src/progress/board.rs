//! What a person who watches sees: a line for the run, and one for each machine. Pure: time and size are arguments.

use std::time::{Duration, Instant};

use console::{measure_text_width, style, truncate_str};

use super::{StepEvent, StepState, words};

/// Columns of a machine's name, unless names are longer.
const LEAST_NAME: usize = 12;
/// A terminal that does not tell its size, or is smaller, is taken for this.
const LEAST_COLUMNS: usize = 40;
const LEAST_ROWS: usize = 4;

/// Everything that has been told of a run.
#[derive(Debug)]
pub(super) struct Board {
    began: Instant,
    /// Steps of the plan, and how many of them are done.
    planned: usize,
    done: usize,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    subject: String,
    /// Running steps, in the order in which they began.
    running: Vec<Running>,
    /// The step that ended last.
    last: String,
    failed: bool,
    /// When its first step began, and how long it took until its last one ended.
    began: Instant,
    took: Duration,
}

#[derive(Debug)]
struct Running {
    step: String,
    detail: String,
    since: Instant,
}

impl Board {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, planned: 0, done: 0, lines: Vec::new() }
    }

    /// So many steps more are to be done.
    pub(super) fn plan(&mut self, steps: usize) {
        self.planned = self.done + steps;
    }

    pub(super) fn step(&mut self, event: &StepEvent<'_>, now: Instant) {
        let words = words(event.phase);
        if event.state == StepState::Finished {
            self.done += 1;
        }
        let line = self.line(event.subject, now);
        if event.state == StepState::Started {
            line.running.push(Running { step: words, detail: String::new(), since: now });
            return;
        }
        line.running.retain(|running| running.step != words);
        line.took = now - line.began;
        if event.state == StepState::Failed {
            line.failed = true;
            line.last = format!("{words} failed: {}", event.error.unwrap_or_default());
        } else if !line.failed {
            line.last = words;
        }
    }

    pub(super) fn detail(&mut self, subject: &str, detail: &str, now: Instant) {
        if let Some(running) = self.line(subject, now).running.last_mut() {
            detail.clone_into(&mut running.detail);
        }
    }

    /// Whether the picture changes while nothing is told.
    pub(super) fn is_moving(&self) -> bool {
        self.lines.iter().any(|line| !line.running.is_empty())
    }

    fn line(&mut self, subject: &str, now: Instant) -> &mut Line {
        let at = self.lines.iter().position(|line| line.subject == subject).unwrap_or_else(|| {
            let (running, last) = (Vec::new(), String::new());
            let (began, took) = (now, Duration::ZERO);
            self.lines.push(Line { subject: subject.to_owned(), running, last, failed: false, began, took });
            self.lines.len() - 1
        });
        &mut self.lines[at]
    }

    /// The picture, never higher than `rows` nor wider than `columns`.
    pub(super) fn render(&self, now: Instant, rows: usize, columns: usize) -> Vec<String> {
        let (rows, columns) = (rows.max(LEAST_ROWS), columns.max(LEAST_COLUMNS));
        let steps = if self.planned > 0 { format!("{} of {} steps, ", self.done, self.planned) } else { String::new() };
        let mut picture = vec![format!("{steps}{}", clock(now - self.began))];
        // One row stays free: the cursor stands in it.
        let room = rows - 2;
        let (shown, hidden) = self.fitting(room);
        let name = shown.iter().map(|line| measure_text_width(&line.subject)).max().unwrap_or(0).max(LEAST_NAME);
        picture.extend(shown.iter().map(|line| line.render(now, name)));
        if !hidden.is_empty() {
            let running = hidden.iter().filter(|line| !line.running.is_empty()).count();
            picture.push(format!("  … {} more: {running} running, {} done", hidden.len(), hidden.len() - running));
        }
        picture.iter().map(|line| truncate_str(line, columns - 1, "…").into_owned()).collect()
    }

    /// The lines that there is room for, in their order, and the others: what has failed is seen first, then what has run for
    /// the longest time, then what was done last.
    fn fitting(&self, room: usize) -> (Vec<&Line>, Vec<&Line>) {
        if self.lines.len() <= room {
            return (self.lines.iter().collect(), Vec::new());
        }
        let mut order: Vec<usize> = (0..self.lines.len()).collect();
        order.sort_by_key(|at| {
            let line = &self.lines[*at];
            let age = match line.running.first() {
                Some(running) => running.since - self.began,
                None => Duration::MAX.saturating_sub(line.began + line.took - self.began),
            };
            (!line.failed, line.running.is_empty(), age)
        });
        // The last row tells of those that are left out.
        let mut chosen = order[..room.saturating_sub(1)].to_vec();
        let mut rest = order[room.saturating_sub(1)..].to_vec();
        chosen.sort_unstable();
        rest.sort_unstable();
        (chosen.iter().map(|at| &self.lines[*at]).collect(), rest.iter().map(|at| &self.lines[*at]).collect())
    }
}

impl Line {
    fn render(&self, now: Instant, name: usize) -> String {
        let (sign, text, elapsed) = match self.running.first() {
            _ if self.failed => (style("✗").red(), self.last.clone(), self.took),
            None => (style("✓").green(), format!("{} done", self.last), self.took),
            Some(first) => {
                let steps = self.running.iter().map(|running| match running.detail.as_str() {
                    "" => running.step.clone(),
                    detail => format!("{}: {detail}", running.step),
                });
                (style("•").cyan(), steps.collect::<Vec<_>>().join(", "), now - first.since)
            }
        };
        let pad = " ".repeat(name.saturating_sub(measure_text_width(&self.subject)));
        format!("{sign} {}{pad}  {:>6}  {text}", self.subject, clock(elapsed))
    }
}

/// `42s`, `3m07s`.
fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{:02}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests;
