//! A file that is put aside when it is full; what was put aside is compressed and removed in time.

use std::fs::{File, OpenOptions};
use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use crate::config::AuditArgs;

const MEGABYTE: u64 = 1024 * 1024;
/// The size of a file if the flag gives none, as upstream.
const DEFAULT_MEGABYTES: u64 = 100;
const DAY: Duration = Duration::from_hours(24);
/// What compressed files are called.
const GZIP: &str = ".gz";
/// The same while they are made.
const UNFINISHED: &str = ".gz-unfinished";

/// A file that is put aside when it is full.
pub(super) struct Rotating {
    file: File,
    size: u64,
    most: u64,
    old: OldFiles,
    cleaning: Option<JoinHandle<()>>,
}

/// The files that were put aside, and what is kept of them.
#[derive(Clone)]
struct OldFiles {
    path: PathBuf,
    /// 0 for all.
    backups: usize,
    /// 0 for ever.
    days: u32,
    compress: bool,
}

impl Rotating {
    pub(super) fn open(path: &Path, args: &AuditArgs) -> io::Result<Self> {
        let megabytes = if args.audit_log_maxsize == 0 { DEFAULT_MEGABYTES } else { args.audit_log_maxsize };
        let (backups, days) = (args.audit_log_maxbackup, args.audit_log_maxage);
        let old = OldFiles { path: path.to_owned(), backups, days, compress: args.audit_log_compress };
        Self::begin(old, megabytes * MEGABYTE)
    }

    fn begin(old: OldFiles, most: u64) -> io::Result<Self> {
        let file = append(&old.path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size, most, old, cleaning: None })
    }

    pub(super) fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        let more = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size.saturating_add(more) > self.most {
            self.rotate()?;
        }
        self.file.write_all(batch)?;
        self.size += more;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.wait_until_clean();
        let (stem, extension) = self.old.parts();
        let path = &self.old.path;
        let now = Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S%.3f");
        std::fs::rename(path, path.with_file_name(format!("{stem}-{now}{extension}")))?;
        self.file = append(path)?;
        self.size = 0;
        let old = self.old.clone();
        // Events must not wait for a large file to be compressed.
        self.cleaning =
            Some(std::thread::Builder::new().name("audit-old-files".to_owned()).spawn(move || old.clean())?);
        Ok(())
    }

    fn wait_until_clean(&mut self) {
        if let Some(cleaning) = self.cleaning.take() {
            // A thread that has failed left more files, which harms nobody.
            let _ = cleaning.join();
        }
    }
}

impl Drop for Rotating {
    fn drop(&mut self) {
        self.wait_until_clean();
    }
}

impl OldFiles {
    /// `audit` and `.log`.
    fn parts(&self) -> (String, String) {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let extension = self.path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
        (stem, extension.unwrap_or_default())
    }

    /// The files that were put aside, newest first, compressed or not.
    fn all(&self) -> Vec<PathBuf> {
        let (stem, extension) = self.parts();
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let is_old = |name: &str| {
            let name = name.strip_suffix(GZIP).unwrap_or(name);
            let time = name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&extension));
            time.is_some_and(|time| time.len() == 23 && time.starts_with(|first: char| first.is_ascii_digit()))
        };
        let mut old: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_old))
            .collect();
        old.sort();
        old.reverse();
        old
    }

    /// Removes what is beyond what the flags keep and compresses the rest; a failure leaves more, which harms nobody.
    fn clean(&self) {
        let too_old = |path: &Path| {
            let modified = std::fs::metadata(path).and_then(|about| about.modified());
            let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
            self.days > 0 && age.is_some_and(|age| age > DAY * self.days)
        };
        for (index, path) in self.all().iter().enumerate() {
            if (self.backups > 0 && index >= self.backups) || too_old(path) {
                let _ = std::fs::remove_file(path);
            } else if self.compress
                && path.extension().is_none_or(|extension| extension != &GZIP[1..])
                && let Err(error) = compress(path)
            {
                tracing::warn!(path = %path.display(), %error, "an old audit log cannot be compressed");
            }
        }
    }
}

/// Puts a compressed file in the place of another one; under its name only once it is whole.
fn compress(path: &Path) -> io::Result<()> {
    let named = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let unfinished = named(UNFINISHED);
    // Left by a program that was killed.
    let _ = std::fs::remove_file(&unfinished);
    let mut encoder = GzEncoder::new(append(&unfinished)?, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    std::fs::rename(&unfinished, named(GZIP))?;
    std::fs::remove_file(path)
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    /// What is left in a folder after six events of which each fills a file: the file, and the old ones with their names.
    fn six(folder: &Path, compress: bool) -> (String, Vec<(String, Vec<u8>)>) {
        let path = folder.join("audit.log");
        std::fs::write(folder.join("audit-notes.log"), "of somebody else").unwrap();
        let mut file = Rotating::begin(OldFiles { path: path.clone(), backups: 2, days: 0, compress }, 10).unwrap();
        for number in 0..6 {
            file.write(format!("{number}234567\n").as_bytes()).unwrap();
            // Names are of milliseconds.
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(file);
        assert!(folder.join("audit-notes.log").exists());
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut old: Vec<String> = entries.filter(|name| name.starts_with("audit-2")).collect();
        old.sort();
        let old = old.into_iter().map(|name| (name.clone(), std::fs::read(folder.join(name)).unwrap())).collect();
        (std::fs::read_to_string(&path).unwrap(), old)
    }

    #[test]
    fn a_full_file_is_put_aside_and_only_some_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (last, old) = six(folder.path(), false);
        assert_eq!(last, "5234567\n");
        let texts: Vec<_> = old.iter().map(|(_, bytes)| std::str::from_utf8(bytes).unwrap()).collect();
        assert_eq!(texts, ["3234567\n", "4234567\n"]);
    }

    #[test]
    fn old_files_are_compressed_if_the_flag_says_so_and_counted_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (last, old) = six(folder.path(), true);
        assert_eq!(last, "5234567\n");
        let texts: Vec<String> = old
            .iter()
            .map(|(name, bytes)| {
                assert!(name.ends_with(".log.gz"), "{name}");
                let mut text = String::new();
                GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
                text
            })
            .collect();
        assert_eq!(texts, ["3234567\n", "4234567\n"]);
    }
}
