//! A value made of files that is made anew when they change.
//!
//! Nobody waits for changes: whoever uses the value looks, at most once a second. Files that cannot be used are logged
//! and the last good value stays.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

/// A burst of uses shares one look.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When each file was changed and how long it is.
type Stamp = Vec<Option<(SystemTime, u64)>>;
type Make<T> = Box<dyn Fn(&[PathBuf]) -> anyhow::Result<T> + Send + Sync>;

/// The value, and how to make the next one.
pub struct Reloaded<T> {
    current: ArcSwap<T>,
    files: Vec<PathBuf>,
    make: Make<T>,
    seen: Mutex<(Instant, Stamp)>,
}

impl<T> Reloaded<T> {
    /// Makes the value for the first time.
    ///
    /// # Errors
    /// What `make` says.
    pub fn new<E>(
        files: Vec<PathBuf>,
        make: impl Fn(&[PathBuf]) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E>
    where
        E: Into<anyhow::Error>,
    {
        let stamp = stamp(&files);
        let current = ArcSwap::from_pointee(make(&files)?);
        let make: Make<T> = Box::new(move |files| make(files).map_err(Into::into));
        Ok(Self { current, files, make, seen: Mutex::new((Instant::now(), stamp)) })
    }

    /// A value that never changes.
    pub fn fixed(value: T) -> Self {
        let make: Make<T> = Box::new(|_| Err(anyhow::anyhow!("this value is made of no file")));
        let seen = Mutex::new((Instant::now(), Stamp::new()));
        Self { current: ArcSwap::from_pointee(value), files: Vec::new(), make, seen }
    }

    /// The value of the files as they are now.
    pub fn get(&self) -> Arc<T> {
        self.look();
        self.current.load_full()
    }

    fn look(&self) {
        if self.files.is_empty() {
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0.elapsed() < LOOK_EVERY {
            return;
        }
        seen.0 = Instant::now();
        let found = stamp(&self.files);
        if found == seen.1 {
            return;
        }
        match (self.make)(&self.files) {
            Ok(value) => {
                tracing::info!(files = ?self.files, "reloaded");
                self.current.store(Arc::new(value));
                seen.1 = found;
            }
            // The stamp stays old, so that a file that is half written is tried again.
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(files = ?self.files, error, "changed files cannot be used, the old ones stay in force");
            }
        }
    }
}

fn stamp(files: &[PathBuf]) -> Stamp {
    let one = |file: &PathBuf| std::fs::metadata(file).and_then(|about| Ok((about.modified()?, about.len()))).ok();
    files.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_taken_over_and_a_bad_one_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "1").unwrap();
        let read = |files: &[PathBuf]| -> anyhow::Result<u32> { Ok(std::fs::read_to_string(&files[0])?.parse()?) };
        let number = Reloaded::new(vec![file.path().to_owned()], read).unwrap();
        assert_eq!(*number.get(), 1);
        let look_again = || number.seen.lock().unwrap().0 = Instant::now().checked_sub(LOOK_EVERY).unwrap();
        std::fs::write(file.path(), "not a number").unwrap();
        look_again();
        assert_eq!(*number.get(), 1);
        std::fs::write(file.path(), "22").unwrap();
        look_again();
        assert_eq!(*number.get(), 22);
        assert_eq!(*Reloaded::fixed(5).get(), 5);
    }
}
