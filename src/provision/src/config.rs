//! From the command line and the environment to checked settings. The only place that reads the environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub mod arguments;

pub use arguments::*;

use crate::exit::{Exit, Refusal};
use crate::progress::Format;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Below it, one directory a cluster.
    pub state_dir: PathBuf,
    /// Images and downloads.
    pub cache_dir: PathBuf,
    /// The binary with all node programs.
    pub hyperkube: Option<PathBuf>,
    /// The user's own kubeconfig, as kubectl finds it.
    pub kubeconfig: Option<PathBuf>,
    /// How output is written.
    pub output: Format,
}

impl Config {
    /// The settings, with the XDG directories where nothing else was said.
    pub fn new(cli: &Cli) -> Result<Self> {
        let state_dir = directory(cli.state_dir.as_deref(), "XDG_STATE_HOME", ".local/state")?;
        let cache_dir = directory(cli.cache_dir.as_deref(), "XDG_CACHE_HOME", ".cache")?;
        // kubectl writes to the first file of several.
        let listed = environment("KUBECONFIG");
        let first = listed.as_deref().and_then(|list| list.split(':').find(|file| !file.is_empty()));
        let home = environment("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
        let kubeconfig = first.map(PathBuf::from).or(home);
        Ok(Self { state_dir, cache_dir, hyperkube: cli.hyperkube.clone(), kubeconfig, output: cli.output })
    }

    /// The binary with all node programs.
    ///
    /// # Errors
    /// It is not where it was said to be, nor beside this program.
    pub fn components(&self) -> Result<PathBuf> {
        let file = match &self.hyperkube {
            Some(file) => file.clone(),
            None => std::env::current_exe().context("cannot tell where this program is")?.with_file_name("hyperkube"),
        };
        if file.is_file() {
            return Ok(file);
        }
        Err(Refusal::new(Exit::Host, format!("{} with the node programs does not exist", file.display()))
            .hint("build it with `make build`, or name it with --hyperkube FILE")
            .into())
    }
}

fn directory(asked: Option<&Path>, variable: &str, below_home: &str) -> Result<PathBuf> {
    let path = match (asked, environment(variable), environment("HOME")) {
        (Some(path), _, _) => path.to_owned(),
        (None, Some(base), _) => PathBuf::from(base).join("provision"),
        (None, None, Some(home)) => PathBuf::from(home).join(below_home).join("provision"),
        (None, None, None) => {
            anyhow::bail!("neither {variable} nor HOME is set; name the directory on the command line")
        }
    };
    std::path::absolute(&path).with_context(|| format!("cannot tell where {} is", path.display()))
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `provision FILE` means `provision apply FILE`: the first word that is no flag and no verb is a topology.
pub fn with_implied_apply(args: Vec<OsString>) -> Vec<OsString> {
    let flags_with_value = ["--state-dir", "--cache-dir", "--hyperkube", "--output", "-o"];
    let mut at = 1;
    while let Some(word) = args.get(at).and_then(|word| word.to_str()) {
        if !word.starts_with('-') || word == "-" {
            break;
        }
        at += if flags_with_value.contains(&word) { 2 } else { 1 };
    }
    let looks_like_file = |word: &str| {
        word == "-"
            || word.contains('/')
            || Path::new(word).extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
    };
    let mut args = args;
    if args.get(at).and_then(|word| word.to_str()).is_some_and(looks_like_file) {
        args.insert(at, "apply".into());
    }
    args
}

#[cfg(test)]
mod tests;
