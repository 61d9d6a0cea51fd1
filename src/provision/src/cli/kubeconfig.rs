//! `provision kubeconfig CLUSTER`: print it, or merge it into the user's own.

mod merge;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use self::merge::{Document, Entry};
use super::{open, print, print_json};
use crate::config::{Config, KubeconfigArgs};
use crate::exit::{Exit, Refusal};
use crate::progress::Format;
use crate::state::read_if_there;

pub(super) fn run(args: &KubeconfigArgs, config: &Config) -> Result<Exit> {
    let name = open::cluster_name(&args.cluster)?;
    if args.remove {
        return remove(&name, args, config);
    }
    let state = open::state_of(&name, config)?;
    let path = state.path("kubeconfig");
    if args.path {
        print(&path.display().to_string());
        return Ok(Exit::Done);
    }
    let text = read_if_there(&path)?.ok_or_else(|| open::no_cluster(&name))?;
    if !args.merge {
        print(&text);
        return Ok(Exit::Done);
    }
    let context = args.context.clone().unwrap_or_else(|| name.clone());
    let entry = Entry { cluster: &name, context: &context, kubeconfig: &text, current: !args.keep_current };
    let file = target(args, config)?;
    edit(&file, |document| document.merge(&entry))?;
    tell(config, &file, &context, &format!("Context {context} is in {}.", file.display()))
}

/// The cluster may be gone already; what is in the file says what was its.
fn remove(name: &str, args: &KubeconfigArgs, config: &Config) -> Result<Exit> {
    let file = target(args, config)?;
    let mut removed = false;
    if file.exists() {
        edit(&file, |document| {
            removed = document.remove(name);
            Ok(())
        })?;
    }
    let word = if removed { "is no longer" } else { "was not" };
    tell(config, &file, name, &format!("Cluster {name} {word} in {}.", file.display()))
}

fn tell(config: &Config, file: &Path, context: &str, text: &str) -> Result<Exit> {
    match config.output {
        Format::Json => print_json(&serde_json::json!({ "file": file, "context": context }))?,
        Format::Text => print(text),
    }
    Ok(Exit::Done)
}

/// The file that kubectl would write to.
fn target(args: &KubeconfigArgs, config: &Config) -> Result<PathBuf> {
    let file = args.into.clone().or_else(|| config.kubeconfig.clone());
    let file = file.context("neither KUBECONFIG nor HOME is set; name the file with --into FILE")?;
    // A link stays a link: what it points to is what is written.
    Ok(fs::canonicalize(&file).unwrap_or(std::path::absolute(&file)?))
}

/// Changes a kubeconfig at once: a reader sees the old one or the new one, and its mode stays.
fn edit(file: &Path, change: impl FnOnce(&mut Document) -> Result<()>) -> Result<()> {
    let folder = file.parent().context("a kubeconfig is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let _held = Held::take(file)?;
    let before = read_if_there(file)?.unwrap_or_default();
    let mut document = Document::parse(&file.display().to_string(), &before)?;
    change(&mut document)?;
    let after = document.to_yaml();
    if after == before {
        return Ok(());
    }
    let mode = fs::metadata(file).map_or(0o600, |meta| meta.permissions().mode() & 0o7777);
    let draft = beside(file, "draft");
    let write = || -> std::io::Result<()> {
        // One that a killed run has left may belong to somebody else's eyes.
        let _ = fs::remove_file(&draft);
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        out.write_all(after.as_bytes())?;
        out.set_permissions(fs::Permissions::from_mode(mode))?;
        out.sync_all()?;
        fs::rename(&draft, file)
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{end}"));
    file.with_file_name(name)
}

/// The lock file that kubectl takes too while it changes a kubeconfig.
struct Held(PathBuf);

impl Held {
    fn take(file: &Path) -> Result<Self> {
        let lock = beside(file, "lock");
        match fs::OpenOptions::new().write(true).create_new(true).open(&lock) {
            Ok(_) => Ok(Self(lock)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let message = format!("{} is there: another program changes {}", lock.display(), file.display());
                Err(Refusal::new(Exit::Locked, message).hint("try again; if nobody does, remove the lock file").into())
            }
            Err(error) => Err(error).with_context(|| format!("cannot write {}", lock.display())),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What cannot be removed is found, and named, by the next who wants it.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests;
