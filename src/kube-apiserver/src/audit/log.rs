//! Where events go: a thread of its own writes what has gathered.

use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use prometheus_client::metrics::counter::Counter;

use super::event::Entry;
use super::rotating::Rotating;
use crate::config::AuditArgs;

pub(super) struct Log {
    running: Mutex<Option<Running>>,
}

struct Running {
    queue: SyncSender<Entry>,
    writer: JoinHandle<()>,
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
        let write = move || write(sink, &waiting, &limits, &lost);
        let writer = std::thread::Builder::new().name("audit".to_owned()).spawn(write)?;
        Ok(Self { running: Mutex::new(Some(Running { queue, writer })) })
    }

    /// Hands an event on; false if it is lost.
    pub(super) fn send(&self, entry: Entry) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().is_some_and(|running| running.queue.try_send(entry).is_ok())
    }

    /// Writes what waits and ends the thread.
    pub(super) async fn close(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { queue, writer }) = running {
            drop(queue);
            let _ = tokio::task::spawn_blocking(|| writer.join()).await;
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
