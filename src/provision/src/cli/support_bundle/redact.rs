//! Takes secrets out of texts: those that we know, and whatever looks like one.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::state::StateDir;

/// Stands where a secret was.
const REMOVED: &str = "[removed]";
/// Shorter lines of a key are found in innocent texts too.
const LEAST_LENGTH: usize = 16;
/// Words after which, behind a colon or an equals sign, a secret comes.
const TELLING: &[&str] =
    &["token", "password", "passwd", "secret", "authorization", "client-key-data", "private-key", "apikey"];

/// Knows the secrets of one cluster.
pub(super) struct Redactor {
    known: BTreeSet<String>,
}

impl Redactor {
    /// Learns every secret in the state directory.
    pub(super) fn new(state: &StateDir) -> Result<Self> {
        let mut known = BTreeSet::new();
        for folder in ["pki", "ssh"] {
            learn_folder(&state.path(folder), &mut known)?;
        }
        if let Ok(kubeconfig) = std::fs::read_to_string(state.path("kubeconfig")) {
            let data = kubeconfig.lines().filter_map(|line| line.trim().strip_prefix("client-key-data: "));
            known.extend(data.map(str::to_owned));
        }
        known.retain(|secret| secret.len() >= LEAST_LENGTH);
        Ok(Self { known })
    }

    /// The text without secrets.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut in_key = false;
        for line in text.split_inclusive('\n') {
            if in_key {
                in_key = !line.contains("-----END");
                continue;
            }
            if line.contains("PRIVATE KEY-----") {
                // A key may stand in one line, with its ends written as `\n`.
                in_key = !line.contains("-----END");
                clean += REMOVED;
                clean.push('\n');
                continue;
            }
            clean += &self.clean_line(line);
        }
        clean
    }

    fn clean_line(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for secret in &self.known {
            if line.contains(secret.as_str()) {
                line = line.replace(secret.as_str(), REMOVED);
            }
        }
        without_tokens(&without_values(&line))
    }

    /// Takes out of an object what may be secret by its place.
    pub(super) fn clean_object(value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(Self::clean_object),
            Value::Object(fields) => {
                fields.remove("managedFields");
                if let Some(Value::Object(annotations)) = fields.get_mut("annotations") {
                    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
                }
                if let Some(Value::Array(variables)) = fields.get_mut("env") {
                    for variable in variables.iter_mut().filter_map(|variable| variable.get_mut("value")) {
                        *variable = REMOVED.into();
                    }
                }
                fields.values_mut().for_each(Self::clean_object);
            }
            _ => {}
        }
    }
}

fn learn_folder(folder: &Path, known: &mut BTreeSet<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            learn_folder(&path, known)?;
            continue;
        }
        // A secret that we cannot read is one that we cannot take out.
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        if text.contains("PRIVATE KEY-----") {
            known.extend(text.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned));
            known.insert(STANDARD.encode(&bytes));
        }
    }
    Ok(())
}

/// `password=hunter2` becomes `password=[removed]`.
fn without_values(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let mut out = String::with_capacity(line.len());
    let mut at = 0;
    while let Some((start, end)) = next_value(&lower, at) {
        out += &line[at..start];
        out += REMOVED;
        at = end;
    }
    out + &line[at..]
}

/// Where the next value after a telling word is.
fn next_value(lower: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let (found, word) = TELLING.iter().filter_map(|word| Some((at + lower[at..].find(word)?, *word))).min()?;
        let after = found + word.len();
        let rest = &lower[after..];
        let sign = rest.trim_start_matches(['"', '\'', ' ', '\\']);
        let Some(value) = sign.strip_prefix([':', '=']) else {
            at = after;
            continue;
        };
        let value = value.trim_start_matches(['"', '\'', ' ', '\\']);
        let start = lower.len() - value.len();
        // `Authorization: Bearer abc` has two words.
        let ends: &[char] =
            if word == "authorization" { &['"', '\'', '\n'] } else { &['"', '\'', '\n', ' ', ',', '}', '&', '\\'] };
        let length = value.find(ends).unwrap_or(value.len());
        if length == 0 || matches!(&value[..length], "true" | "false" | "null" | "{" | "[" | "[removed]") {
            at = start.max(after);
            continue;
        }
        return Some((start, start + length));
    }
}

/// Takes out whatever has the form of a token: three parts of which the first is JSON, or a bootstrap token.
fn without_tokens(line: &str) -> String {
    let of_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find(of_token) {
        out += &rest[..start];
        let word = &rest[start..];
        let end = word.find(|c| !of_token(c)).unwrap_or(word.len());
        out += if is_token(&word[..end]) { REMOVED } else { &word[..end] };
        rest = &word[end..];
    }
    out + rest
}

fn is_token(word: &str) -> bool {
    let word = word.trim_matches('.');
    let parts: Vec<&str> = word.split('.').collect();
    let bootstrap = |part: &&str, length| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    match parts.as_slice() {
        [head, _, _] => head.starts_with("eyJ"),
        [id, secret] => bootstrap(id, 6) && bootstrap(secret, 16),
        _ => false,
    }
}
