//! One run at a time for each cluster.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};

use anyhow::{Context as _, Result};

use crate::exit::{Exit, Refusal};
use crate::state::StateDir;

/// Holds the cluster until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held open: the kernel frees the lock with the file")] File);

impl Lock {
    /// Takes the cluster for `command`.
    ///
    /// # Errors
    /// [`Exit::Locked`] if another run holds it, naming that run.
    pub fn take(state: &StateDir, command: &str) -> Result<Self> {
        state.create()?;
        let path = state.path("lock");
        let context = || format!("cannot lock {}", path.display());
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).with_context(context)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder's name is a courtesy; the refusal stands without it.
                let _ = file.read_to_string(&mut holder);
                let message = format!("another run holds this cluster: {}", holder.trim());
                return Err(Refusal::new(Exit::Locked, message)
                    .hint("wait until it has ended, then run this again")
                    .into());
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        let holder =
            format!("`provision {command}`, process {}, since {}\n", std::process::id(), jiff::Timestamp::now());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .with_context(context)?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests;
