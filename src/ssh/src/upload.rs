//! Uploads: ask for the hashes, send what differs as one tar stream, check it, then rename it into place.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::error::SshError;
use crate::host::{File, Host, Script, Uploaded, quote};

/// What a new file is called until its content has been checked.
const SUFFIX: &str = ".provision-new";

pub(crate) async fn upload(host: &dyn Host, files: &[File]) -> Result<Uploaded, SshError> {
    if files.is_empty() {
        return Ok(Uploaded::default());
    }
    let present = host.run(&Script::new(survey(files.iter().map(|file| file.path.as_str())))).await?.text();
    let wanted: Vec<String> = files.iter().map(|file| hex::encode(Sha256::digest(&file.content))).collect();
    let present = parse(&present);
    let differing: Vec<(&File, &String)> = files
        .iter()
        .zip(&wanted)
        .filter(|(file, hash)| present.get(file.path.as_str()) != Some(&(format!("{:o}", file.mode), (*hash).clone())))
        .collect();
    let unchanged = files.len() - differing.len();
    if differing.is_empty() {
        return Ok(Uploaded { written: Vec::new(), unchanged });
    }
    let script = Script::new(install(&differing)).with_stdin(archive(differing.iter().map(|(file, _)| *file)));
    host.run(&script).await.map_err(|error| corrupt(host.name(), error))?;
    Ok(Uploaded { written: differing.iter().map(|(file, _)| file.path.clone()).collect(), unchanged })
}

/// Prints `mode hash path` for every file that exists.
fn survey<'a>(paths: impl IntoIterator<Item = &'a str>) -> String {
    let paths: Vec<String> = paths.into_iter().map(quote).collect();
    format!(
        "for path in {}; do\n  [ ! -f \"$path\" ] || printf '%s %s\\n' \"$(stat -c %a \"$path\")\" \"$(sha256sum \"$path\")\"\ndone",
        paths.join(" ")
    )
}

fn parse(survey: &str) -> BTreeMap<&str, (String, String)> {
    survey
        .lines()
        .filter_map(|line| {
            let (mode, rest) = line.split_once(' ')?;
            let (hash, path) = rest.split_once("  ")?;
            Some((path, (mode.to_owned(), hash.to_owned())))
        })
        .collect()
}

fn install(files: &[(&File, &String)]) -> String {
    let mut script = String::from(
        "umask 077\ntar -x -C / --no-same-owner --no-overwrite-dir -p -f -\nsha256sum --quiet -c - <<'SUMS'\n",
    );
    for (file, hash) in files {
        let _ = writeln!(script, "{hash}  {}{SUFFIX}", file.path);
    }
    script.push_str("SUMS\n");
    for (file, _) in files {
        let _ = writeln!(script, "mv -f {} {}", quote(&format!("{}{SUFFIX}", file.path)), quote(&file.path));
    }
    script
}

/// A tar of the files under their temporary names. Missing directories are made with 0755 by tar.
fn archive<'a>(files: impl Iterator<Item = &'a File>) -> Bytes {
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.content.len() as u64);
        header.set_mode(file.mode);
        let path = format!("{}{SUFFIX}", file.path.trim_start_matches('/'));
        archive.append_data(&mut header, path, file.content.as_ref()).expect("writing to memory cannot fail");
    }
    archive.into_inner().expect("writing to memory cannot fail").into()
}

fn corrupt(host: &str, error: SshError) -> SshError {
    let path = match &error {
        SshError::Failed { stderr, .. } if stderr.contains("computed checksum") => {
            stderr.lines().find_map(|line| line.strip_suffix(": FAILED")).unwrap_or("a file").to_owned()
        }
        _ => return error,
    };
    SshError::Corrupt { host: host.to_owned(), path: path.trim_end_matches(SUFFIX).to_owned() }
}
