//! The file of rules: `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::cipher::{Chain, Cipher, Provider};
use crate::settings_file::{self, SettingsFileError};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    resources: Vec<RuleEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    resources: Vec<String>,
    providers: Vec<ProviderEntry>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ProviderEntry {
    aesgcm: Option<Keys>,
    aescbc: Option<Keys>,
    secretbox: Option<Keys>,
    identity: Option<Nothing>,
    kms: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    name: String,
    secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Which kinds are sealed and how; the first rule that names a kind counts.
#[derive(Default)]
pub(super) struct Rules(Vec<Rule>);

struct Rule {
    resources: Vec<String>,
    chain: Chain,
}

impl Rules {
    pub(super) fn read(path: &Path) -> Result<Self, SettingsFileError> {
        let checked = Self::check(settings_file::read(path)?);
        checked.map_err(|(field, why)| SettingsFileError::invalid(path, format_args!("{field}: {why}")))
    }

    pub(super) fn chain(&self, group: &str, plural: &str) -> Option<&Chain> {
        let rule = self.0.iter().find(|rule| rule.resources.iter().any(|pattern| covers(pattern, group, plural)));
        rule.map(|rule| &rule.chain)
    }

    fn check(file: File) -> Result<Self, (String, String)> {
        if (file.api_version.as_str(), file.kind.as_str()) != ("apiserver.config.k8s.io/v1", "EncryptionConfiguration")
        {
            return Err(("kind".to_owned(), format!("{} {} is not known here", file.api_version, file.kind)));
        }
        if file.resources.is_empty() {
            return Err(("resources".to_owned(), "must have at least one rule".to_owned()));
        }
        let mut rules = Vec::new();
        for (index, entry) in file.resources.into_iter().enumerate() {
            let at = format!("resources[{index}]");
            check_patterns(&entry.resources).map_err(|why| (format!("{at}.resources"), why))?;
            if entry.providers.is_empty() {
                return Err((format!("{at}.providers"), "must have at least one provider".to_owned()));
            }
            let mut chain = Vec::new();
            for (number, provider) in entry.providers.into_iter().enumerate() {
                chain.push(provider.check().map_err(|why| (format!("{at}.providers[{number}]"), why))?);
            }
            rules.push(Rule { resources: entry.resources, chain: Chain(chain) });
        }
        Ok(Self(rules))
    }
}

/// `secrets`, `deployments.apps`, `*.apps` (a group), `*.` (the core group) or `*.*`.
fn covers(pattern: &str, group: &str, plural: &str) -> bool {
    let (wanted, of_group) = pattern.split_once('.').unwrap_or((pattern, ""));
    (wanted == "*" || wanted == plural) && (of_group == "*" || of_group == group)
}

fn check_patterns(patterns: &[String]) -> Result<(), String> {
    if patterns.is_empty() {
        return Err("must name at least one resource".to_owned());
    }
    let mut seen = BTreeSet::new();
    for pattern in patterns {
        let (resource, group) = pattern.split_once('.').unwrap_or((pattern, ""));
        let odd = resource.is_empty()
            || pattern == "*"
            || pattern.contains('/')
            || pattern.chars().any(char::is_uppercase)
            || (group.contains('*') && (group != "*" || resource != "*"))
            || (resource.contains('*') && resource != "*");
        if odd {
            return Err(format!("{pattern:?} names no resource; write secrets, deployments.apps, *.apps, *. or *.*"));
        }
        if !seen.insert(pattern) {
            return Err(format!("{pattern:?} is named twice"));
        }
        let masked = |other: &String| other != pattern && covers(other, group, resource) && other.starts_with('*');
        if patterns.iter().any(masked) {
            return Err(format!("{pattern:?} is covered by a wildcard beside it"));
        }
    }
    Ok(())
}

impl ProviderEntry {
    fn check(self) -> Result<Provider, String> {
        type Make = fn(&[u8]) -> Option<Cipher>;
        let given = [
            (self.aesgcm, "aesgcm", Cipher::gcm as Make, "16, 24 or 32"),
            (self.aescbc, "aescbc", Cipher::cbc as Make, "16, 24 or 32"),
            (self.secretbox, "secretbox", Cipher::secret_box as Make, "32"),
        ];
        let mut found = Vec::new();
        for (keys, name, make, sizes) in given {
            let Some(keys) = keys else { continue };
            found.push(Provider { prefix: format!("k8s:enc:{name}:v1:"), keys: check_keys(keys, make, sizes)? });
        }
        if self.identity.is_some() {
            found.push(Provider { prefix: String::new(), keys: Vec::new() });
        }
        if self.kms.is_some() {
            return Err("kms is not supported".to_owned());
        }
        let one = found.pop().ok_or("must be one of aesgcm, aescbc, secretbox and identity")?;
        if found.is_empty() { Ok(one) } else { Err("must be only one provider".to_owned()) }
    }
}

/// The text of an error never holds a secret.
fn check_keys(keys: Keys, make: fn(&[u8]) -> Option<Cipher>, sizes: &str) -> Result<Vec<(String, Cipher)>, String> {
    if keys.keys.is_empty() {
        return Err("must have at least one key".to_owned());
    }
    let mut all: Vec<(String, Cipher)> = Vec::new();
    for key in keys.keys {
        if key.name.is_empty() || key.name.contains(':') || all.iter().any(|(name, _)| *name == key.name) {
            return Err(format!("the name of key {:?} is empty, has a colon or stands twice", key.name));
        }
        let secret = STANDARD.decode(key.secret.trim()).map_err(|_| format!("key {} is no base64", key.name))?;
        let cipher = make(&secret).ok_or_else(|| format!("key {} must have {sizes} bytes", key.name))?;
        all.push((key.name, cipher));
    }
    Ok(all)
}
