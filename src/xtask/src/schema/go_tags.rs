//! Reads from Go declarations what no other description tells: pointers, and fields written even when zero.

use anyhow::Context;
use std::{collections::HashMap, path::Path};

/// Facts about a field of a Go struct.
#[derive(Clone, Debug)]
pub(super) struct GoField {
    /// The JSON name.
    pub(super) json: String,
    /// The protobuf number, 0 if there is none.
    pub(super) tag: u32,
    /// Whether nil and zero differ.
    pub(super) pointer: bool,
    /// Whether it is written when zero.
    pub(super) keep_zero: bool,
}

/// Fields by lower-case struct, such as `core.v1.pod`.
pub(super) type GoTypes = HashMap<String, Vec<GoField>>;

/// Reads every `types*.go` below the roots.
pub(super) fn read(roots: &[impl AsRef<Path>]) -> anyhow::Result<GoTypes> {
    let mut types = GoTypes::new();
    for root in roots {
        walk(root.as_ref(), &mut types)?;
    }
    Ok(types)
}

fn walk(folder: &Path, types: &mut GoTypes) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            walk(&path, types)?;
        } else if name.starts_with("types")
            && path.extension().is_some_and(|extension| extension == "go")
            && !name.contains("_test")
            && !name.contains("swagger")
        {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let near: Vec<String> =
                folder.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
            if let [version, group] = near.as_slice() {
                read_file(&text, &format!("{group}.{version}"), types);
            }
        }
    }
    Ok(())
}

fn read_file(text: &str, package: &str, types: &mut GoTypes) {
    let mut current = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("type ").and_then(|rest| rest.strip_suffix(" struct {")) {
            current = Some(format!("{package}.{}", name.to_ascii_lowercase()));
        } else if line == "}" {
            current = None;
        } else if let (Some(name), Some(field)) = (&current, read_line(line)) {
            types.entry(name.clone()).or_default().push(field);
        }
    }
}

/// A line such as ``Replicas *int32 `json:"replicas,omitempty" protobuf:"varint,1,opt,name=replicas"` ``.
fn read_line(line: &str) -> Option<GoField> {
    if line.starts_with("//") {
        return None;
    }
    let (declaration, tags) = line.split_once('`')?;
    let json = quoted(tags, "json:\"")?;
    let (name, options) = json.split_once(',').unwrap_or((json, ""));
    // An embedded struct has a type only.
    let go_type = declaration.split_whitespace().last()?;
    Some(GoField {
        json: name.to_owned(),
        tag: quoted(tags, "protobuf:\"").and_then(|tag| tag.split(',').nth(1)?.parse().ok()).unwrap_or_default(),
        pointer: go_type.starts_with('*'),
        keep_zero: !options.contains("omitempty") && !options.contains("omitzero"),
    })
}

fn quoted<'a>(tags: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = tags.split_once(before)?;
    rest.split_once('"').map(|(inside, _)| inside)
}
