//! What was done: one JSON line a step, written before it begins and after it ends.
//!
//! Nothing is decided from the journal: a run looks at the world again. It is there for people and support bundles.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::state::StateDir;

/// The journal of a cluster, open for writing.
#[derive(Debug)]
pub struct Journal(Mutex<File>);

/// What happened to a step.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Happened {
    /// It is about to begin.
    Started,
    /// It is done.
    Finished,
    /// It failed.
    Failed,
}

#[derive(Serialize)]
struct Line<'a> {
    time: jiff::Timestamp,
    step: &'a str,
    happened: Happened,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

impl Journal {
    /// Opens the journal; a line that a killed run left half-written is ended first.
    pub fn open(state: &StateDir) -> Result<Self> {
        let path = state.path("journal.jsonl");
        let whole = std::fs::read(&path).is_ok_and(|text| text.last().is_none_or(|last| *last == b'\n'));
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        if !whole && file.metadata().is_ok_and(|metadata| metadata.len() > 0) {
            file.write_all(b"\n").with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Self(Mutex::new(file)))
    }

    /// Adds a line and brings it to the disk.
    pub fn record(&self, step: &str, happened: Happened, detail: &str) -> Result<()> {
        let line = Line { time: jiff::Timestamp::now(), step, happened, detail };
        let mut text = serde_json::to_vec(&line).context("cannot write a journal line as JSON")?;
        text.push(b'\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&text).and_then(|()| file.sync_data()).context("cannot write the journal")
    }
}
