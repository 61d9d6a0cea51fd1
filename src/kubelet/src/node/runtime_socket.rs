//! Waiting for the socket of a runtime that has not started: the kernel tells when it appears.

use std::io;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use inotify::{Inotify, WatchMask};

/// The file behind an endpoint.
pub fn path(endpoint: &str) -> PathBuf {
    let path = endpoint.strip_prefix("unix://").or_else(|| endpoint.strip_prefix("unix:")).unwrap_or(endpoint);
    PathBuf::from(path)
}

/// Returns when the socket exists; its folder may be missing too.
///
/// # Errors
/// Fails when the kernel cannot tell.
pub async fn appears(socket: &Path) -> io::Result<()> {
    loop {
        let there = socket.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
        let inotify = Inotify::init()?;
        inotify.watches().add(there, WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::DELETE_SELF)?;
        // What came before the watch has no event.
        let deeper = socket.ancestors().skip(1).find(|folder| folder.is_dir()).is_some_and(|folder| folder != there);
        if socket.exists() {
            return Ok(());
        }
        if deeper {
            continue;
        }
        let mut events = inotify.into_event_stream(vec![0; 4096])?;
        if let Some(event) = events.next().await {
            event?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_noticed_when_it_appears_in_a_folder_that_appears() {
        let home = tempfile::tempdir().unwrap();
        let socket = path(&format!("unix://{}/run/runtime/runtime.sock", home.path().display()));
        let waiting = tokio::spawn({
            let socket = socket.clone();
            async move { appears(&socket).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        std::fs::write(home.path().join("run/other"), "").unwrap();
        tokio::task::yield_now().await;
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        waiting.await.unwrap().unwrap();
        appears(&socket).await.unwrap();
    }
}
