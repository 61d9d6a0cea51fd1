//! A compressed archive in which every text has been read for secrets first.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::redact::Redactor;

/// The end of a longer log says more than its beginning.
pub(super) const MOST_BYTES: usize = 8 << 20;

/// Stands where the beginning of a longer text was.
const LEFT_OUT: &str = "[the beginning was left out]\n";

/// What will be written.
pub(super) struct Bundle {
    root: String,
    redactor: Redactor,
    files: Vec<(String, String)>,
    missing: Vec<String>,
}

impl Bundle {
    pub(super) fn new(root: &str, redactor: Redactor) -> Self {
        Self { root: root.to_owned(), redactor, files: Vec::new(), missing: Vec::new() }
    }

    /// Adds a text without its secrets.
    pub(super) fn add(&mut self, name: &str, text: &str) {
        let start = text.len().saturating_sub(MOST_BYTES);
        let kept = text.get(text.ceil_char_boundary(start)..).unwrap_or_default();
        let mark = if start > 0 { LEFT_OUT } else { "" };
        self.files.push((name.to_owned(), format!("{mark}{}", self.redactor.clean(kept))));
    }

    /// Adds an object without its secrets.
    pub(super) fn add_json(&mut self, name: &str, value: &serde_json::Value) {
        let mut value = value.clone();
        Redactor::clean_object(&mut value);
        self.add(name, &serde_json::to_string_pretty(&value).unwrap_or_default());
    }

    /// Adds a file, if it is there.
    pub(super) fn add_file(&mut self, name: &str, path: &Path) {
        match std::fs::read(path) {
            Ok(bytes) => self.add(name, &String::from_utf8_lossy(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self.missing(name, &error.into()),
        }
    }

    /// Adds every file that ends in `.log` below a folder.
    pub(super) fn add_logs(&mut self, name: &str, folder: &Path, depth: usize) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type());
            let Ok(file) = entry.file_name().into_string() else { continue };
            let inner = format!("{name}/{file}");
            // Links lead elsewhere, and sockets never end.
            if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) && depth > 1 {
                self.add_logs(&inner, &path, depth - 1);
            } else if kind.is_ok_and(|kind| kind.is_file()) && path.extension().is_some_and(|end| end == "log") {
                self.add_file(&inner, &path);
            }
        }
    }

    /// Says what could not be had, and why.
    pub(super) fn missing(&mut self, what: &str, error: &anyhow::Error) {
        let line = self.redactor.clean(&format!("{what}: {error:#}"));
        self.missing.push(line);
    }

    /// Writes everything; how many files there are, and what is missing.
    pub(super) fn write(mut self, file: &Path) -> Result<(usize, Vec<String>)> {
        if !self.missing.is_empty() {
            let text = self.missing.join("\n");
            self.files.push(("missing.txt".to_owned(), text));
        }
        let context = || format!("cannot write {}", file.display());
        let out = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
        let mut archive = tar::Builder::new(GzEncoder::new(out.with_context(context)?, Compression::default()));
        for (name, text) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(jiff::Timestamp::now().as_second().try_into().unwrap_or_default());
            let path = format!("{}/{name}", self.root);
            archive.append_data(&mut header, path, text.as_bytes()).with_context(context)?;
        }
        let mut out = archive.into_inner().and_then(GzEncoder::finish).with_context(context)?;
        out.flush().with_context(context)?;
        Ok((self.files.len(), self.missing))
    }
}
