//! `--admission-control-config-file`: the settings of single plugins, inline or in files of their own.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{pod_security, resource_quota};

/// The settings of all plugins that have any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(super) pod_security: pod_security::configuration::Configuration,
    pub(super) resource_quota: resource_quota::Configuration,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// `AdmissionConfiguration` as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion", default)]
    _api_version: String,
    #[serde(rename = "kind", default)]
    _kind: String,
    #[serde(default)]
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Plugin {
    name: String,
    #[serde(default)]
    path: PathBuf,
    #[serde(default)]
    configuration: Option<Value>,
}

impl Settings {
    /// Reads the file and those it names; names of files are relative to it.
    ///
    /// # Errors
    /// If a file is missing or says what is not understood.
    pub(super) fn load(path: Option<&Path>) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        let Some(path) = path else { return Ok(settings) };
        let file: File = read(path)?;
        for plugin in file.plugins {
            let given = Given { file: path, plugin: &plugin };
            match plugin.name.as_str() {
                "PodSecurity" => settings.pod_security = given.read::<pod_security::configuration::File, _>()?,
                "ResourceQuota" => settings.resource_quota = given.read::<resource_quota::File, _>()?,
                _ => {}
            }
        }
        Ok(settings)
    }
}

/// The settings given for one plugin.
struct Given<'a> {
    file: &'a Path,
    plugin: &'a Plugin,
}

impl Given<'_> {
    fn read<F: DeserializeOwned + Default, T: TryFrom<F, Error = String>>(&self) -> Result<T, SettingsError> {
        let malformed = |path: PathBuf, why: String| SettingsError::Malformed { path, why };
        let (path, written): (PathBuf, F) = match &self.plugin.configuration {
            Some(inline) => {
                let parsed = serde_json::from_value(inline.clone());
                let place = || self.file.to_owned();
                (place(), parsed.map_err(|error| malformed(place(), format!("{}: {error}", self.plugin.name)))?)
            }
            None if self.plugin.path.as_os_str().is_empty() => (self.file.to_owned(), F::default()),
            None => {
                let folder = self.file.parent().unwrap_or(Path::new("."));
                let path = folder.join(&self.plugin.path);
                let written = read(&path)?;
                (path, written)
            }
        };
        T::try_from(written).map_err(|why| malformed(path, format!("{}: {why}", self.plugin.name)))
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
    serde_saphyr::from_str(&text)
        .map_err(|error| SettingsError::Malformed { path: path.to_owned(), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admission.yaml");
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("pods.yaml"), "defaults: {enforce: baseline}\n").unwrap();
        let settings = Settings::load(Some(&path));
        settings.map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn plugins_are_set_inline_or_by_a_file_beside() {
        let none = format!("{:?}", Settings::load(None).unwrap());
        assert!(none.contains("enforce: Standard { level: Privileged"), "{none}");
        let inline = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n\
            - name: PodSecurity\n  configuration:\n    apiVersion: pod-security.admission.config.k8s.io/v1\n    \
            kind: PodSecurityConfiguration\n    defaults: {enforce: restricted, enforce-version: v1.30}\n    \
            exemptions: {namespaces: [kube-system]}\n";
        let inline = format!("{:?}", load(inline).unwrap());
        assert!(inline.contains("enforce: Standard { level: Restricted, version: Minor(30) }"), "{inline}");
        let beside = format!("{:?}", load("plugins: [{name: PodSecurity, path: pods.yaml}]").unwrap());
        assert!(beside.contains("enforce: Standard { level: Baseline, version: Latest }"), "{beside}");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let check = |text: &str, expected: &str| {
            let seen = load(text).unwrap_err();
            assert!(seen.contains(expected), "{seen}");
        };
        check("plugins: [{name: PodSecurity, path: none.yaml}]", "none.yaml");
        check("plugins: [{nome: PodSecurity}]", "nome");
        check("plugins: [{name: PodSecurity, configuration: {default: {}}}]", "default");
        check(
            "plugins: [{name: PodSecurity, configuration: {defaults: {warn: x}}}]",
            "FILE: PodSecurity: defaults.warn: must be one of privileged, baseline, restricted",
        );
        check("plugins: [{name: PodSecurity, configuration: {exemptions: {usernames: [a, a]}}}]", "usernames[1]");
    }
}
