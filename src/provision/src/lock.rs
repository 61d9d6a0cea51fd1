//! One run at a time for each cluster, and one allocation at a time for all of them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Refusal};
use crate::state::{StateDir, private_dir};

/// Holds the cluster until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held open: the kernel frees the lock with the file")] File);

/// Keeps other runs from choosing networks and ports until it is dropped.
#[derive(Debug)]
pub struct Allocating(#[expect(dead_code, reason = "held open: the kernel frees the lock with the file")] File);

/// How a run waits for another one.
pub struct Patience<'a> {
    /// How long.
    pub limit: Duration,
    /// Ends the wait early.
    pub token: &'a CancellationToken,
    /// Told once who is waited for.
    pub tell: &'a (dyn Fn(&str) + Sync),
}

impl Lock {
    /// Takes the cluster for `command`; if another run holds it, waits for that run's end as long as `patience` says.
    ///
    /// # Errors
    /// [`Exit::Locked`] if another run still holds it, naming that run.
    pub async fn take(state: &StateDir, command: &str, patience: &Patience<'_>) -> Result<Self> {
        let path = state.path("lock");
        let context = || format!("cannot lock {}", path.display());
        let deadline = Instant::now() + patience.limit;
        loop {
            state.create()?;
            let mut file = open(&path).with_context(context)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::Error(error)) => return Err(error).with_context(context),
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    // The holder's name is a courtesy; the refusal stands without it.
                    let _ = file.read_to_string(&mut holder);
                    let holder = holder.trim();
                    if patience.limit.is_zero() {
                        return Err(held(holder, "wait until it has ended, or give --wait-lock 10m"));
                    }
                    (patience.tell)(&format!("waiting for another run on this cluster: {holder}"));
                    let freed = tokio::select! {
                        biased;
                        () = patience.token.cancelled() => return Err(Refusal::new(Exit::Interrupted, "interrupted").into()),
                        freed = tokio::time::timeout_at(deadline, freed(file)) => freed,
                    };
                    let hint = "it may be stuck: look at what it does before you end it";
                    file = freed.map_err(|_| held(holder, hint))?.with_context(context)?;
                }
            }
            // The run before us may have removed the cluster, and the file with it.
            if is_at(&file, &path) {
                write_holder(&mut file, command).with_context(context)?;
                return Ok(Self(file));
            }
        }
    }
}

impl Allocating {
    /// Waits for its turn: others hold it for as long as it takes to look which networks and ports are free.
    pub async fn take(state_dir: &Path) -> Result<Self> {
        private_dir(state_dir)?;
        let path = state_dir.join("allocate.lock");
        let context = || format!("cannot lock {}", path.display());
        let file = open(&path).with_context(context)?;
        Ok(Self(freed(file).await.with_context(context)?))
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Whether the file that is open is the one that has this path.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
    std::fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|ours| id(ours) == id(there)))
}

/// Waits until the file can be locked. On a thread of its own, which does not keep the process from ending.
async fn freed(file: File) -> std::io::Result<File> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("lock".to_owned()).spawn(move || {
        let locked = file.lock().map(|()| file);
        // Who has given up waiting does not listen any more; the lock is then freed with the file.
        let _ = tell.send(locked);
    })?;
    told.await.map_err(std::io::Error::other)?
}

fn write_holder(file: &mut File, command: &str) -> std::io::Result<()> {
    let host = nix::unistd::gethostname().map_err(std::io::Error::from)?;
    let holder = format!(
        "`provision {command}`, process {} on {}, since {}\n",
        std::process::id(),
        host.to_string_lossy(),
        jiff::Timestamp::now()
    );
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(holder.as_bytes())
}

fn held(holder: &str, hint: &str) -> anyhow::Error {
    Refusal::new(Exit::Locked, format!("another run holds this cluster: {holder}")).hint(hint).into()
}

#[cfg(test)]
mod tests;
