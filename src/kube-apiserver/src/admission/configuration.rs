//! `--admission-control-config-file`: the settings of single plugins, inline or in files of their own.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{pod_security, resource_quota};
use crate::settings_file::{self, SettingsFileError};

/// The settings of all plugins that have any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(super) pod_security: pod_security::configuration::Configuration,
    pub(super) resource_quota: resource_quota::Configuration,
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
    pub(super) fn load(path: Option<&Path>) -> Result<Self, SettingsFileError> {
        let mut settings = Self::default();
        let Some(path) = path else { return Ok(settings) };
        let file: File = settings_file::read(path)?;
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
    fn read<F: DeserializeOwned + Default, T: TryFrom<F, Error = String>>(&self) -> Result<T, SettingsFileError> {
        let (path, written): (PathBuf, F) = match &self.plugin.configuration {
            Some(inline) => {
                let parsed = serde_json::from_value(inline.clone());
                let told = |error: serde_json::Error| {
                    SettingsFileError::invalid(self.file, format_args!("{}: {error}", self.plugin.name))
                };
                (self.file.to_owned(), parsed.map_err(told)?)
            }
            None if self.plugin.path.as_os_str().is_empty() => (self.file.to_owned(), F::default()),
            None => {
                let folder = self.file.parent().unwrap_or(Path::new("."));
                let path = folder.join(&self.plugin.path);
                let written = settings_file::read(&path)?;
                (path, written)
            }
        };
        let told = |why: String| SettingsFileError::invalid(&path, format_args!("{}: {why}", self.plugin.name));
        T::try_from(written).map_err(told)
    }
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
        settings
            .map_err(|error| format!("{:#}", anyhow::Error::from(error)).replace(&path.display().to_string(), "FILE"))
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
