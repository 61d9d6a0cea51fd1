//! One builder at a time: an advisory lock that the kernel drops when its holder ends, however it ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// A lock that is held until it is dropped.
pub struct Lock {
    _held: Flock<File>,
}

/// Takes the lock, waiting for its holder; `on_wait` is called once if there is one.
pub async fn take(path: &Path, on_wait: impl FnOnce()) -> io::Result<Lock> {
    if let Some(lock) = try_take(path)? {
        return Ok(lock);
    }
    on_wait();
    let path = path.to_owned();
    let waited = tokio::task::spawn_blocking(move || {
        Flock::lock(open(&path)?, FlockArg::LockExclusive).map_err(|(_, e)| io::Error::from(e))
    });
    let held = waited.await.map_err(io::Error::other)??;
    Ok(Lock { _held: held })
}

/// Takes the lock if nobody holds it.
pub fn try_take(path: &Path) -> io::Result<Option<Lock>> {
    match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(Lock { _held: held })),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => Err(e.into()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_taker_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/lock");
        let first = take(&path, || panic!("nobody holds it")).await.unwrap();
        assert!(try_take(&path).unwrap().is_none());
        let (told, mut asked) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn(async move { take(&path, || told.send(()).unwrap()).await.map(drop) });
        (&mut asked).await.unwrap();
        drop(first);
        waiting.await.unwrap().unwrap();
    }
}
