//! Files of settings that flags name: YAML of a known kind, read whole or refused with its path.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Why a file of settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsFileError {
    /// It cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("cannot understand {path}", path = path.display())]
    Parse {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It says something that cannot be.
    #[error("{path}: {why}", path = path.display())]
    Invalid {
        /// Which one.
        path: PathBuf,
        /// Where in it, and what is wrong.
        why: String,
    },
}

impl SettingsFileError {
    /// What is wrong in a file that can be read.
    pub fn invalid(path: &Path, why: impl std::fmt::Display) -> Self {
        Self::Invalid { path: path.to_owned(), why: why.to_string() }
    }
}

/// Reads a file.
///
/// # Errors
/// If it is not there or not of this form.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsFileError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| SettingsFileError::Read { path: path.to_owned(), source })?;
    serde_saphyr::from_str(&text)
        .map_err(|error| SettingsFileError::Parse { path: path.to_owned(), source: error.into() })
}
