//! Reads the JSON schema of all types.

use anyhow::Context;
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

/// One type, as the JSON schema tells it.
#[derive(Deserialize, Default)]
pub(super) struct Definition {
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) properties: BTreeMap<String, Property>,
    #[serde(default)]
    pub(super) required: Vec<String>,
    #[serde(default, rename = "x-kubernetes-group-version-kind")]
    pub(super) kinds: Vec<Kind>,
    #[serde(default, rename = "x-kubernetes-map-type")]
    pub(super) map_type: String,
}

/// A kind a type is served as.
#[derive(Deserialize, Clone)]
pub(super) struct Kind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

/// One field, as the JSON schema tells it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Property {
    #[serde(default)]
    pub(super) description: String,
    #[serde(default, rename = "type")]
    json_type: OneOrMany,
    #[serde(default)]
    format: String,
    #[serde(default, rename = "$ref")]
    reference: String,
    items: Option<Box<Property>>,
    #[serde(rename = "additionalProperties")]
    additional: Option<Box<Property>>,
    #[serde(default, rename = "x-kubernetes-list-type")]
    pub(super) list_type: String,
    #[serde(default, rename = "x-kubernetes-list-map-keys")]
    pub(super) list_map_keys: Vec<String>,
    #[serde(default, rename = "x-kubernetes-map-type")]
    pub(super) map_type: String,
    #[serde(default, rename = "x-kubernetes-patch-strategy")]
    pub(super) patch_strategy: String,
    #[serde(default, rename = "x-kubernetes-patch-merge-key")]
    pub(super) patch_merge_key: String,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum OneOrMany {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

/// Reads the file; keys are short names such as `core.v1.Pod`.
pub(super) fn read(path: &Path) -> anyhow::Result<BTreeMap<String, Definition>> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "$defs")]
        definitions: BTreeMap<String, Definition>,
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let document: Document = serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    Ok(document.definitions.into_iter().map(|(name, definition)| (short_name(&name), definition)).collect())
}

/// `io.k8s.api.core.v1.Pod` becomes `core.v1.Pod`.
fn short_name(name: &str) -> String {
    let parts: Vec<&str> = name.rsplitn(4, '.').take(3).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(".")
}

impl Property {
    /// The type in our notation: `string`, `[]core.v1.Container`, `{}quantity`.
    pub(super) fn type_text(&self) -> anyhow::Result<String> {
        if let Some(name) = self.reference.rsplit('/').next().filter(|name| !name.is_empty()) {
            let name = short_name(name);
            return Ok(well_known(&name).map_or(name, str::to_owned));
        }
        if let Some(items) = &self.items {
            return Ok(format!("[]{}", items.type_text()?));
        }
        if let Some(values) = &self.additional {
            return Ok(format!("{{}}{}", values.type_text()?));
        }
        let json_type = match &self.json_type {
            OneOrMany::None => "",
            OneOrMany::One(one) => one,
            OneOrMany::Many(many) => many.iter().find(|one| *one != "null").map_or("", String::as_str),
        };
        Ok(match (json_type, self.format.as_str()) {
            ("string", "byte") => "bytes",
            ("string", "" | "int-or-string") => "string",
            ("boolean", "") => "bool",
            ("integer", "int32") => "int32",
            ("integer", _) => "int64",
            ("number", _) => "double",
            ("object", "") => "raw",
            other => anyhow::bail!("unknown JSON type {other:?}"),
        }
        .to_owned())
    }
}

/// Types that are not described by fields.
pub(super) fn well_known(name: &str) -> Option<&'static str> {
    Some(match name {
        "api.resource.Quantity" => "quantity",
        "meta.v1.Time" => "time",
        "meta.v1.MicroTime" => "microtime",
        "meta.v1.FieldsV1" => "fields",
        "meta.v1.Duration" => "duration",
        "pkg.runtime.RawExtension" => "raw",
        "util.intstr.IntOrString" => "int-or-string",
        "apiextensions.v1.JSON" => "json",
        "apiextensions.v1.JSONSchemaPropsOrArray" => "schema-or-list",
        "apiextensions.v1.JSONSchemaPropsOrBool" => "schema-or-bool",
        "apiextensions.v1.JSONSchemaPropsOrStringArray" => "schema-or-strings",
        _ => return None,
    })
}
