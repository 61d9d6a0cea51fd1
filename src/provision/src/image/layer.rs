//! Deterministic tar archives: the same content gives the same bytes, whoever made it and when.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// One thing in a layer.
enum Entry {
    Directory,
    File { source: PathBuf, mode: u32 },
    Text { bytes: Vec<u8>, mode: u32 },
    Link { target: String },
}

/// A set of files, kept sorted by path.
#[derive(Default)]
pub struct Layer {
    entries: BTreeMap<String, Entry>,
}

impl Layer {
    /// Adds a file that is read when the layer is written; parents are added with it.
    pub fn file(&mut self, path: &str, source: &Path, mode: u32) {
        self.add(path, Entry::File { source: source.to_owned(), mode });
    }

    /// Adds a file whose content is at hand.
    pub fn text(&mut self, path: &str, bytes: impl Into<Vec<u8>>, mode: u32) {
        self.add(path, Entry::Text { bytes: bytes.into(), mode });
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.add(path, Entry::Link { target: target.to_owned() });
    }

    /// Adds an empty directory.
    pub fn directory(&mut self, path: &str) {
        self.add(path, Entry::Directory);
    }

    fn add(&mut self, path: &str, entry: Entry) {
        let path = path.trim_start_matches('/');
        let mut parent = Path::new(path).parent();
        while let Some(dir) = parent.filter(|dir| !dir.as_os_str().is_empty()) {
            self.entries.entry(dir.to_string_lossy().into_owned()).or_insert(Entry::Directory);
            parent = dir.parent();
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Writes the archive.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        let mut tar = Builder::new(out);
        for (path, entry) in &self.entries {
            let mut header = Header::new_ustar();
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            match entry {
                Entry::Directory => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(if path == "tmp" { 0o1777 } else { 0o755 });
                    header.set_size(0);
                    tar.append_data(&mut header, format!("{path}/"), io::empty())?;
                }
                Entry::File { source, mode } => {
                    let file = std::fs::File::open(source)?;
                    header.set_mode(*mode);
                    header.set_size(file.metadata()?.len());
                    tar.append_data(&mut header, path, file)?;
                }
                Entry::Text { bytes, mode } => {
                    header.set_mode(*mode);
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, bytes.as_slice())?;
                }
                Entry::Link { target } => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_size(0);
                    tar.append_link(&mut header, path, target)?;
                }
            }
        }
        tar.into_inner()?.flush()
    }

    /// The archive in memory.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_adding_does_not_show() {
        let (mut a, mut b) = (Layer::default(), Layer::default());
        a.text("/etc/x", "1", 0o644);
        a.link("/bin/y", "x");
        b.link("bin/y", "x");
        b.text("etc/x", "1", 0o644);
        assert_eq!(a.to_bytes().unwrap(), b.to_bytes().unwrap());
    }

    #[test]
    fn parents_come_before_their_children() {
        let mut layer = Layer::default();
        layer.text("a/b/c", "x", 0o600);
        layer.directory("tmp");
        let bytes = layer.to_bytes().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let seen: Vec<_> = archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(seen, ["a/", "a/b/", "a/b/c", "tmp/"].map(PathBuf::from));
    }
}
