//! The settings of `PodSecurity`: what holds where a namespace says nothing, and who is exempt.

use serde::Deserialize;

use super::policy::{Level, Policy, Standard, Version};

/// The checked settings.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub(super) defaults: Policy,
    pub(super) usernames: Vec<String>,
    pub(super) namespaces: Vec<String>,
    pub(super) runtime_classes: Vec<String>,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            defaults: Policy::PRIVILEGED,
            usernames: Vec::new(),
            namespaces: Vec::new(),
            runtime_classes: Vec::new(),
        }
    }
}

/// `PodSecurityConfiguration` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct File {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    defaults: Defaults,
    exemptions: Exemptions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Defaults {
    enforce: String,
    enforce_version: String,
    audit: String,
    audit_version: String,
    warn: String,
    warn_version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Exemptions {
    usernames: Vec<String>,
    namespaces: Vec<String>,
    runtime_classes: Vec<String>,
}

impl TryFrom<File> for Configuration {
    type Error = String;

    fn try_from(file: File) -> Result<Self, String> {
        let defaults = &file.defaults;
        let mut errors = Vec::new();
        let mut standard = |mode: &str, level: &str, version: &str| {
            let level = if level.is_empty() { Ok(Level::Privileged) } else { Level::parse(level) };
            let version = if version.is_empty() { Ok(Version::Latest) } else { Version::parse(version) };
            let (level, version) = (
                level.unwrap_or_else(|why| {
                    errors.push(format!("defaults.{mode}: {why}"));
                    Level::Restricted
                }),
                version.unwrap_or_else(|why| {
                    errors.push(format!("defaults.{mode}-version: {why}"));
                    Version::Latest
                }),
            );
            Standard { level, version }
        };
        let policy = Policy {
            enforce: standard("enforce", &defaults.enforce, &defaults.enforce_version),
            audit: standard("audit", &defaults.audit, &defaults.audit_version),
            warn: standard("warn", &defaults.warn, &defaults.warn_version),
        };
        let Exemptions { usernames, namespaces, runtime_classes } = file.exemptions;
        for (field, list) in
            [("usernames", &usernames), ("namespaces", &namespaces), ("runtimeClasses", &runtime_classes)]
        {
            for (index, name) in list.iter().enumerate() {
                if name.is_empty() || list[..index].contains(name) {
                    errors.push(format!("exemptions.{field}[{index}]: {name:?} is empty or there twice"));
                }
            }
        }
        if errors.is_empty() {
            Ok(Self { defaults: policy, usernames, namespaces, runtime_classes })
        } else {
            Err(errors.join(", "))
        }
    }
}
