//! The file events go to: a thread of its own writes what has gathered, and begins a new file when one is full.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::event::Entry;
use crate::config::AuditArgs;

/// How many events may wait, as upstream's buffer.
const WAITING: usize = 10_000;
/// How many are written together.
const BATCH: usize = 400;
const MEGABYTE: u64 = 1024 * 1024;
/// The size of a file if the flag gives none, as upstream.
const DEFAULT_MEGABYTES: u64 = 100;
const DAY: Duration = Duration::from_hours(24);

pub(super) struct Log {
    running: Mutex<Option<Running>>,
}

struct Running {
    queue: SyncSender<Entry>,
    writer: JoinHandle<()>,
}

impl Log {
    pub(super) fn open(path: &Path, args: &AuditArgs) -> io::Result<Self> {
        let sink = if path == Path::new("-") { Sink::Stdout } else { Sink::File(Rotating::open(path, args)?) };
        let (queue, waiting) = sync_channel(WAITING);
        let writer = std::thread::Builder::new().name("audit".to_owned()).spawn(move || write(sink, &waiting))?;
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

fn write(mut sink: Sink, waiting: &Receiver<Entry>) {
    let mut failing = false;
    while let Ok(first) = waiting.recv() {
        let mut batch = first.into_line();
        for entry in waiting.try_iter().take(BATCH - 1) {
            batch.extend(entry.into_line());
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

/// A file that is put aside when it is full.
struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    most: u64,
    backups: usize,
    days: u32,
}

impl Rotating {
    fn open(path: &Path, args: &AuditArgs) -> io::Result<Self> {
        let file = append(path)?;
        let size = file.metadata()?.len();
        let megabytes = if args.audit_log_maxsize == 0 { DEFAULT_MEGABYTES } else { args.audit_log_maxsize };
        let (backups, days) = (args.audit_log_maxbackup, args.audit_log_maxage);
        Ok(Self { path: path.to_owned(), file, size, most: megabytes * MEGABYTE, backups, days })
    }

    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        let more = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size.saturating_add(more) > self.most {
            self.rotate()?;
        }
        self.file.write_all(batch)?;
        self.size += more;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let (stem, extension) = self.parts();
        let now = Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S%.3f");
        std::fs::rename(&self.path, self.path.with_file_name(format!("{stem}-{now}{extension}")))?;
        self.file = append(&self.path)?;
        self.size = 0;
        self.clean();
        Ok(())
    }

    /// `audit` and `.log`.
    fn parts(&self) -> (String, String) {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let extension = self.path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
        (stem, extension.unwrap_or_default())
    }

    /// Removes old files beyond what the flags keep; a failure leaves more of them, which harms nobody.
    fn clean(&self) {
        let (stem, extension) = self.parts();
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        let is_old = |name: &str| {
            let time = name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&extension));
            time.is_some_and(|time| time.len() == 23 && time.starts_with(|first: char| first.is_ascii_digit()))
        };
        let mut old: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_old))
            .collect();
        old.sort();
        old.reverse();
        let too_old = |path: &Path| {
            let modified = std::fs::metadata(path).and_then(|about| about.modified());
            let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
            self.days > 0 && age.is_some_and(|age| age > DAY * self.days)
        };
        for (index, path) in old.iter().enumerate() {
            if (self.backups > 0 && index >= self.backups) || too_old(path) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_only_some_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        std::fs::write(folder.path().join("audit-notes.log"), "of somebody else").unwrap();
        let mut file =
            Rotating { file: append(&path).unwrap(), path: path.clone(), size: 0, most: 10, backups: 2, days: 0 };
        for number in 0..6 {
            file.write(format!("{number}234567\n").as_bytes()).unwrap();
            // Names are of milliseconds.
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "5234567\n");
        let mut old: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("audit-2"))
            .collect();
        old.sort();
        let texts: Vec<String> =
            old.iter().map(|name| std::fs::read_to_string(folder.path().join(name)).unwrap()).collect();
        assert_eq!(texts, ["3234567\n", "4234567\n"]);
        assert!(folder.path().join("audit-notes.log").exists());
    }
}
