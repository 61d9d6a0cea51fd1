//! Where events go: a thread of its own writes what has gathered.

use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;

use super::event::Entry;
use super::rotating::Rotating;
use crate::config::AuditArgs;

/// How long the end of the server waits for a file that does not take what is written. With the time requests in flight
/// get, it is well below the grace period of a static pod.
const LAST_WRITES: Duration = Duration::from_secs(5);

pub(super) struct Log {
    running: Mutex<Option<Running>>,
}

struct Running {
    queue: SyncSender<Entry>,
    /// Nobody ever sends: it closes with the last thing the thread does.
    written: oneshot::Receiver<()>,
}

impl Log {
    /// Begins to write; `lost` counts events that are too large.
    pub(super) fn open(path: &Path, args: &AuditArgs, lost: Counter) -> io::Result<Self> {
        let sink = if path == Path::new("-") { Sink::Stdout } else { Sink::File(Rotating::open(path, args)?) };
        let (queue, waiting) = sync_channel(args.audit_log_batch_buffer_size);
        let limits = Limits {
            events: args.audit_log_batch_max_size,
            bytes: args.audit_log_truncate_enabled.then_some(args.audit_log_truncate_max_event_size),
        };
        let (alive, written) = oneshot::channel::<()>();
        let write = move || {
            write(sink, &waiting, &limits, &lost);
            drop(alive);
        };
        std::thread::Builder::new().name("audit".to_owned()).spawn(write)?;
        Ok(Self { running: Mutex::new(Some(Running { queue, written })) })
    }

    /// Hands an event on; false if it is lost.
    pub(super) fn send(&self, entry: Entry) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().is_some_and(|running| running.queue.try_send(entry).is_ok())
    }

    /// Lets the thread write what waits and end; a file that hangs costs the events that are left, not the end.
    pub(super) async fn close(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { queue, written }) = running else { return };
        drop(queue);
        if tokio::time::timeout(LAST_WRITES, written).await.is_err() {
            tracing::error!(waited = ?LAST_WRITES, "the audit log takes nothing, its last events are lost");
        }
    }
}

/// How much is written at once.
struct Limits {
    /// The events of a batch.
    events: usize,
    /// The bytes of an event, if there is a limit.
    bytes: Option<usize>,
}

fn write(mut sink: Sink, waiting: &Receiver<Entry>, limits: &Limits, lost: &Counter) {
    let mut failing = false;
    while let Ok(first) = waiting.recv() {
        let mut batch = Vec::new();
        for entry in std::iter::once(first).chain(waiting.try_iter().take(limits.events - 1)) {
            match entry.into_line(limits.bytes) {
                Some(line) => batch.extend(line),
                None if lost.inc() == 0 => tracing::warn!("audit events are too large even without bodies, and lost"),
                None => {}
            }
        }
        let failed = sink.write(&batch);
        if let (Err(error), false) = (&failed, failing) {
            tracing::error!(%error, "audit events cannot be written");
        }
        failing = failed.is_err();
    }
}

enum Sink {
    Stdout,
    File(Rotating),
}

impl Sink {
    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(batch).and_then(|()| out.flush())
            }
            Self::File(file) => file.write(batch),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::sync::{Arc, OnceLock};

    use http::{Method, StatusCode};
    use jiff::Timestamp;
    use nix::sys::stat::Mode;

    use super::*;
    use crate::audit::{Stage, Trail};
    use crate::request_info::RequestInfo;

    fn log(path: &Path) -> Log {
        let args = AuditArgs { audit_log_batch_buffer_size: 100, audit_log_batch_max_size: 10, ..AuditArgs::default() };
        Log::open(path, &args, Counter::default()).unwrap()
    }

    fn entry(uri: String) -> Entry {
        let trail = Arc::new(Trail {
            id: "a".to_owned(),
            uri,
            agent: String::new(),
            sources: Vec::new(),
            received: Timestamp::UNIX_EPOCH,
            rule: OnceLock::new(),
            facts: Mutex::default(),
        });
        let info = RequestInfo::parse(&Method::GET, "/version", "");
        Entry::new(&trail, &info, (Stage::ResponseComplete, Some(StatusCode::OK)))
    }

    #[tokio::test]
    async fn what_waits_is_written_before_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let log = log(&path);
        for number in 0..50 {
            assert!(log.send(entry(format!("/{number}"))));
        }
        log.close().await;
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 50);
        assert!(!log.send(entry("/late".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_hangs_does_not_hold_up_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        // It is open for reading, and nobody reads.
        let silent = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let log = log(&path);
        // More than a pipe holds.
        assert!(log.send(entry("/".repeat(1 << 20))));
        log.close().await;
        drop(silent);
    }
}
