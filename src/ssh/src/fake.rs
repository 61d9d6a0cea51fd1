//! A host in memory: keeps the files that it is given and answers scripts from a table.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures::future::BoxFuture;

use crate::error::SshError;
use crate::host::{File, Host, Script, Uploaded};
use crate::output::{Ended, Output, Sink};

/// Answers a script; `None` means success without output.
pub type Answer = Box<dyn Fn(&Script) -> Option<Result<Output, SshError>> + Send + Sync>;

/// A host that exists only in this process.
pub struct FakeHost {
    name: String,
    answer: Answer,
    world: Mutex<World>,
}

#[derive(Default)]
struct World {
    files: BTreeMap<String, File>,
    scripts: Vec<String>,
}

impl FakeHost {
    /// A host whose scripts all succeed without output.
    pub fn new(name: &str) -> Self {
        Self::answering(name, Box::new(|_| None))
    }

    /// A host that answers scripts as told.
    pub fn answering(name: &str, answer: Answer) -> Self {
        Self { name: name.to_owned(), answer, world: Mutex::default() }
    }

    /// The file at `path`, if it was uploaded.
    pub fn file(&self, path: &str) -> Option<File> {
        self.world().files.get(path).cloned()
    }

    /// Every script that was run, in order.
    pub fn scripts(&self) -> Vec<String> {
        self.world().scripts.clone()
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for FakeHost {
    fn name(&self) -> &str {
        &self.name
    }

    fn stream<'a>(&'a self, script: &'a Script, sink: &'a mut dyn Sink) -> BoxFuture<'a, Result<Ended, SshError>> {
        Box::pin(async move {
            self.world().scripts.push(script.text.clone());
            let output = (self.answer)(script).unwrap_or_else(|| Ok(Output::default()))?;
            output.pour(&self.name, script, sink).await
        })
    }

    fn upload<'a>(&'a self, files: &'a [File]) -> BoxFuture<'a, Result<Uploaded, SshError>> {
        Box::pin(async move {
            let mut world = self.world();
            let mut uploaded = Uploaded::default();
            for file in files {
                if world.files.get(&file.path) == Some(file) {
                    uploaded.unchanged += 1;
                } else {
                    world.files.insert(file.path.clone(), file.clone());
                    uploaded.written.push(file.path.clone());
                }
            }
            Ok(uploaded)
        })
    }
}
