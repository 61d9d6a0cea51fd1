//! Writes the tables: structure as lines that diff well, prose apart and compressed.

use super::join::JoinedType;
use anyhow::Context;
use flate2::{Compression, write::GzEncoder};
use std::{fmt::Write as _, io::Write as _, path::Path};

/// Writes `types.txt` and `descriptions.txt.gz`.
pub(super) fn write(out: &Path, types: &[JoinedType]) -> anyhow::Result<()> {
    let structure = structure(types)?;
    let path = out.join("types.txt");
    std::fs::write(&path, &structure).with_context(|| format!("write {}", path.display()))?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(descriptions(types)?.as_bytes())?;
    let path = out.join("descriptions.txt.gz");
    std::fs::write(&path, encoder.finish()?).with_context(|| format!("write {}", path.display()))
}

fn structure(types: &[JoinedType]) -> anyhow::Result<String> {
    let mut text = String::from("# Made by `cargo xtask schema`; see README.md.\n");
    for joined in types {
        write!(text, "{}", joined.name)?;
        let (_, simple) = joined.name.rsplit_once('.').unwrap_or_default();
        if joined.kinds.len() > 8 {
            write!(text, " kind=*")?;
        } else {
            for kind in &joined.kinds {
                anyhow::ensure!(kind.kind == simple, "{} is served as {}", joined.name, kind.kind);
                write!(text, " kind={}/{}", kind.group, kind.version)?;
            }
        }
        if joined.atomic {
            write!(text, " atomic")?;
        }
        writeln!(text)?;
        for field in &joined.fields {
            let tags: Vec<String> = field.tags.iter().map(ToString::to_string).collect();
            let tags = if tags.is_empty() { "-".to_owned() } else { tags.join(".") };
            write!(text, " {} {} {tags}", field.name, field.type_text)?;
            for flag in &field.flags {
                write!(text, " {flag}")?;
            }
            writeln!(text)?;
        }
    }
    Ok(text)
}

fn descriptions(types: &[JoinedType]) -> anyhow::Result<String> {
    let mut text = String::new();
    for joined in types {
        writeln!(text, "{}\t{}", joined.name, escape(&joined.description))?;
        for field in joined.fields.iter().filter(|field| !field.description.is_empty()) {
            writeln!(text, " {}\t{}", field.name, escape(&field.description))?;
        }
    }
    Ok(text)
}

fn escape(prose: &str) -> String {
    prose.replace('\\', "\\\\").replace('\n', "\\n")
}
