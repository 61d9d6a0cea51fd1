//! Encryption of stored values: which kinds, with which keys, in the form an upstream API server reads and writes.
//!
//! A value tells by its prefix (`k8s:enc:PROVIDER:v1:KEY:`) how it was sealed. The first provider of a rule seals, all of
//! them open. A value that was opened by any but the first is stale: the next write renews it, whatever that changes.
//! A changed file is taken in within a second of the next use; one that cannot be used is logged and the old rules stay.

mod cipher;
mod config;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::Notify;

use crate::settings_file::SettingsFileError;
pub use cipher::SealError;
use config::Rules;

/// How every sealed value begins.
pub const MARK: &[u8] = b"k8s:enc:";
/// How often a use looks for a new file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The rules in force.
pub struct Encryption {
    rules: ArcSwap<Rules>,
    file: Option<PathBuf>,
    seen: Mutex<Seen>,
    /// How many files have been taken in.
    generation: AtomicU64,
    /// Told when a value could not be opened.
    trouble: Notify,
}

/// What is known of the file.
struct Seen {
    looked_at: Instant,
    modified: Option<SystemTime>,
}

/// A value in the clear.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// The value.
    pub plain: Bytes,
    /// Whether it should be sealed anew.
    pub stale: bool,
}

impl Encryption {
    /// Reads the rules; without a file nothing is sealed.
    ///
    /// # Errors
    /// If the file is unreadable or makes no sense.
    pub fn load(file: Option<&Path>) -> Result<Arc<Self>, SettingsFileError> {
        let modified = file.and_then(modified);
        let rules = file.map_or_else(|| Ok(Rules::default()), Rules::read)?;
        Ok(Arc::new(Self {
            rules: ArcSwap::from_pointee(rules),
            file: file.map(Path::to_owned),
            seen: Mutex::new(Seen { looked_at: Instant::now(), modified }),
            generation: AtomicU64::new(0),
            trouble: Notify::new(),
        }))
    }

    /// How values of one kind are sealed.
    pub fn of(self: &Arc<Self>, group: &'static str, plural: &'static str) -> Sealer {
        Sealer { encryption: Arc::clone(self), group, plural }
    }

    /// Returns when the rules have changed after a value could not be opened with the old ones.
    ///
    /// Nobody may be using the rules then, so this is the one who looks; without trouble it waits for some.
    pub async fn mended(&self, has_trouble: impl Fn() -> bool) {
        let before = self.generation.load(Ordering::Relaxed);
        loop {
            if has_trouble() {
                tokio::time::sleep(LOOK_EVERY).await;
                self.refresh();
            } else {
                self.trouble.notified().await;
            }
            if self.generation.load(Ordering::Relaxed) != before {
                return;
            }
        }
    }

    /// Takes in a changed file.
    fn refresh(&self) {
        let Some(file) = &self.file else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.looked_at.elapsed() < LOOK_EVERY {
            return;
        }
        seen.looked_at = Instant::now();
        let found = modified(file);
        if found.is_none() || found == seen.modified {
            return;
        }
        seen.modified = found;
        match Rules::read(file) {
            Ok(rules) => {
                tracing::info!(file = %file.display(), "new encryption rules are in force");
                self.rules.store(Arc::new(rules));
                self.generation.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::error!(error = format!("{error:#}"), "the old encryption rules stay in force");
            }
        }
    }
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|about| about.modified()).ok()
}

/// Seals and opens the values of one kind.
pub struct Sealer {
    encryption: Arc<Encryption>,
    group: &'static str,
    plural: &'static str,
}

impl Sealer {
    /// The form in which a value is stored under a key.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn seal(&self, key: &str, plain: &Bytes) -> Result<Bytes, SealError> {
        self.encryption.refresh();
        match self.encryption.rules.load().chain(self.group, self.plural) {
            Some(chain) => chain.seal(key, plain),
            None => Ok(plain.clone()),
        }
    }

    /// The value stored under a key.
    ///
    /// # Errors
    /// If no key of the rules fits, or the value was tampered with.
    pub fn open(&self, key: &str, value: &Bytes) -> Result<Opened, SealError> {
        self.encryption.refresh();
        let opened = self.try_open(key, value);
        if opened.is_err() {
            self.encryption.trouble.notify_one();
        }
        opened
    }

    fn try_open(&self, key: &str, value: &Bytes) -> Result<Opened, SealError> {
        match self.encryption.rules.load().chain(self.group, self.plural) {
            Some(chain) => chain.open(key, value),
            None if value.starts_with(MARK) => Err(SealError::NoKey),
            None => Ok(Opened { plain: value.clone(), stale: false }),
        }
    }
}

#[cfg(test)]
mod tests;
