//! What was done: one JSON line a step, written before it begins and after it ends.
//!
//! Nothing is decided from the journal: a run looks at the world again. It is there for people and support bundles.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::state::StateDir;

/// The journal of a cluster, open for writing.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

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
        let open = || -> io::Result<File> {
            let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
            if file.metadata()?.len() > 0 {
                let mut last = [b'\n'];
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
                if last != [b'\n'] {
                    file.write_all(b"\n")?;
                }
            }
            Ok(file)
        };
        let file = open().with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { path, file: Mutex::new(file) })
    }

    /// Adds a line and brings it to the disk.
    pub fn record(&self, step: &str, happened: Happened, detail: &str) -> Result<()> {
        let line = Line { time: jiff::Timestamp::now(), step, happened, detail };
        let mut text = serde_json::to_vec(&line).context("cannot write a journal line as JSON")?;
        text.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.write_all(&text).and_then(|()| file.sync_data());
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests;
