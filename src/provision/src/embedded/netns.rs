//! Doing something in another network namespace.

use std::fs::File;
use std::io;

use nix::sched::{CloneFlags, setns};

/// Runs `f` on a thread that lives in `namespace` and ends with `f`.
///
/// A socket stays in the namespace it was made in, so what `f` opens can be used anywhere.
pub(super) async fn within<T, F>(namespace: File, f: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("netns".into()).spawn(move || {
        let done = setns(&namespace, CloneFlags::CLONE_NEWNET).map_err(io::Error::from).and_then(|()| f());
        // Whoever asked may have gone.
        let _ = tell.send(done);
    })?;
    told.await.map_err(io::Error::other)?
}
