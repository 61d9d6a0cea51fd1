//! The files that `ConfigMaps`, Secrets and the downward API become.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapProjection, ConfigMapVolumeSource, DownwardAPIVolumeFile, KeyToPath, Pod, Secret,
    SecretProjection, SecretVolumeSource,
};

use crate::pod::field::{self, Facts};

const DEFAULT_MODE: i32 = 0o644;

/// One file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub data: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
    /// Its owner, if not root.
    pub owner: Option<u32>,
}

/// The files of a volume by their path in it.
pub type Payload = BTreeMap<String, File>;

/// Why a volume cannot be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The object is not there.
    #[error("{kind} {name:?} not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object lacks a key that is asked for.
    #[error("references non-existent {kind} key: {key}")]
    Key {
        /// `config` or `secret`.
        kind: &'static str,
        /// The key.
        key: String,
    },
    /// The downward API has no such field.
    #[error("unsupported downward API field of file {path:?}")]
    Field {
        /// The file that asks for it.
        path: String,
    },
}

/// Which keys of an object a volume shows, and how.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// The name of the object.
    pub name: &'a str,
    items: Option<&'a [KeyToPath]>,
    mode: i32,
    optional: bool,
}

impl<'a> Selection<'a> {
    /// What a ConfigMap volume asks for.
    pub fn of_config_map(source: &'a ConfigMapVolumeSource) -> Self {
        Self {
            name: &source.name,
            items: source.items.as_deref(),
            mode: source.default_mode.unwrap_or(DEFAULT_MODE),
            optional: source.optional.unwrap_or(false),
        }
    }

    /// What a Secret volume asks for.
    pub fn of_secret(source: &'a SecretVolumeSource) -> Self {
        Self {
            name: source.secret_name.as_deref().unwrap_or_default(),
            items: source.items.as_deref(),
            mode: source.default_mode.unwrap_or(DEFAULT_MODE),
            optional: source.optional.unwrap_or(false),
        }
    }

    /// What a projection of a ConfigMap asks for.
    pub fn of_config_map_projection(source: &'a ConfigMapProjection, mode: Option<i32>) -> Self {
        Self {
            name: &source.name,
            items: source.items.as_deref(),
            mode: mode.unwrap_or(DEFAULT_MODE),
            optional: source.optional.unwrap_or(false),
        }
    }

    /// What a projection of a Secret asks for.
    pub fn of_secret_projection(source: &'a SecretProjection, mode: Option<i32>) -> Self {
        Self {
            name: &source.name,
            items: source.items.as_deref(),
            mode: mode.unwrap_or(DEFAULT_MODE),
            optional: source.optional.unwrap_or(false),
        }
    }

    fn pick(&self, data: &BTreeMap<&str, &[u8]>, kind: &'static str) -> Result<Payload, PayloadError> {
        let file = |data: &[u8], mode: i32| File { data: data.to_vec(), mode: permissions(mode), owner: None };
        let Some(items) = self.items.filter(|items| !items.is_empty()) else {
            return Ok(data.iter().map(|(key, data)| ((*key).to_owned(), file(data, self.mode))).collect());
        };
        let mut payload = Payload::new();
        for item in items {
            match data.get(item.key.as_str()) {
                Some(data) => drop(payload.insert(item.path.clone(), file(data, item.mode.unwrap_or(self.mode)))),
                None if self.optional => {}
                None => {
                    return Err(PayloadError::Key { kind, key: item.key.clone() });
                }
            }
        }
        Ok(payload)
    }
}

/// Permissions as the kernel counts them.
pub fn permissions(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or(0o644) & 0o777
}

/// The files of a ConfigMap.
pub fn config_map(object: Option<&ConfigMap>, selection: &Selection<'_>) -> Result<Payload, PayloadError> {
    let Some(object) = object else {
        return absent("configmap", selection);
    };
    let text = object.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = object.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    selection.pick(&text.chain(binary).collect(), "config")
}

/// The files of a Secret.
pub fn secret(object: Option<&Secret>, selection: &Selection<'_>) -> Result<Payload, PayloadError> {
    let Some(object) = object else {
        return absent("secret", selection);
    };
    let data = object.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    selection.pick(&data.collect(), "secret")
}

fn absent(kind: &'static str, selection: &Selection<'_>) -> Result<Payload, PayloadError> {
    if selection.optional {
        Ok(Payload::new())
    } else {
        Err(PayloadError::Missing { kind, name: selection.name.to_owned() })
    }
}

/// The files of a downward API volume.
pub fn downward_api(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    mode: Option<i32>,
    facts: &Facts,
) -> Result<Payload, PayloadError> {
    let mut payload = Payload::new();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(reference), _) => field::field(pod, &reference.field_path, facts),
            (None, Some(reference)) => field::resource(pod, "", reference, facts),
            (None, None) => None,
        };
        let text = text.ok_or_else(|| PayloadError::Field { path: item.path.clone() })?;
        let mode = permissions(item.mode.or(mode).unwrap_or(DEFAULT_MODE));
        payload.insert(item.path.clone(), File { data: text.into_bytes(), mode, owner: None });
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object() -> ConfigMap {
        serde_json::from_value(json!({"data": {"a": "1"}, "binaryData": {"b": "AAE="}})).unwrap()
    }

    #[test]
    fn all_keys_or_the_chosen_ones() {
        let all: ConfigMapVolumeSource = serde_json::from_value(json!({"name": "m", "defaultMode": 256})).unwrap();
        let payload = config_map(Some(&object()), &Selection::of_config_map(&all)).unwrap();
        assert_eq!(
            (payload["a"].data.as_slice(), payload["b"].data.as_slice(), payload["a"].mode),
            (&b"1"[..], &[0, 1][..], 0o400)
        );
        let chosen: ConfigMapVolumeSource =
            serde_json::from_value(json!({"name": "m", "items": [{"key": "a", "path": "x/y", "mode": 384}]})).unwrap();
        let payload = config_map(Some(&object()), &Selection::of_config_map(&chosen)).unwrap();
        assert_eq!(payload.keys().collect::<Vec<_>>(), ["x/y"]);
        assert_eq!(payload["x/y"].mode, 0o600);
    }

    #[test]
    fn absence_is_an_error_unless_it_is_allowed() {
        let needed: ConfigMapVolumeSource =
            serde_json::from_value(json!({"name": "m", "items": [{"key": "z", "path": "z"}]})).unwrap();
        assert_eq!(
            config_map(None, &Selection::of_config_map(&needed)),
            Err(PayloadError::Missing { kind: "configmap", name: "m".to_owned() })
        );
        assert_eq!(
            config_map(Some(&object()), &Selection::of_config_map(&needed)),
            Err(PayloadError::Key { kind: "config", key: "z".to_owned() })
        );
        let optional = ConfigMapVolumeSource { optional: Some(true), ..needed };
        assert_eq!(config_map(None, &Selection::of_config_map(&optional)), Ok(Payload::new()));
        assert_eq!(config_map(Some(&object()), &Selection::of_config_map(&optional)), Ok(Payload::new()));
    }
}
