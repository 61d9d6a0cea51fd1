//! Reads protobuf numbers and types from the sources prost generated.

use anyhow::{Context, bail};
use std::{collections::BTreeMap, path::Path};
use syn::{Attribute, Fields, GenericArgument, Item, PathArguments, Type};

/// A field of a message.
#[derive(Clone, Debug)]
pub(super) struct MessageField {
    /// Lower-case letters and digits of the name.
    pub(super) folded: String,
    /// The name as generated, in snake case.
    pub(super) name: String,
    pub(super) tag: u32,
    pub(super) shape: Shape,
    /// `string`, `int32`, … or the key of a message.
    pub(super) of: String,
}

/// How often a field may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    Many,
    Map,
}

/// Messages by folded name: lower-case `core.v1.pod`.
pub(super) type Messages = BTreeMap<String, Message>;

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) fields: Vec<MessageField>,
}

/// Reads all `mod.rs` files below `root`.
pub(super) fn read(root: &Path) -> anyhow::Result<Messages> {
    let mut messages = Messages::new();
    walk(root, &mut Vec::new(), &mut messages)?;
    Ok(messages)
}

fn walk(folder: &Path, module: &mut Vec<String>, messages: &mut Messages) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            module.push(name);
            walk(&path, module, messages)?;
            module.pop();
        } else if name == "mod.rs" {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let file = syn::parse_file(&text).with_context(|| format!("parse {}", path.display()))?;
            for item in file.items {
                if let Item::Struct(item) = item {
                    read_struct(&item, module, messages)
                        .with_context(|| format!("{} in {}", item.ident, path.display()))?;
                }
            }
        }
    }
    Ok(())
}

fn read_struct(item: &syn::ItemStruct, module: &[String], messages: &mut Messages) -> anyhow::Result<()> {
    let fields = match &item.fields {
        Fields::Named(named) => {
            named.named.iter().filter_map(|field| read_field(field, module).transpose()).collect::<Result<_, _>>()?
        }
        Fields::Unit | Fields::Unnamed(_) => Vec::new(),
    };
    messages.insert(key(module, &item.ident.to_string()), Message { fields });
    Ok(())
}

/// Two modules and the type, folded: `core.v1.pod`.
fn key(module: &[String], name: &str) -> String {
    let near = &module[module.len().saturating_sub(2)..];
    format!("{}.{}", near.join("."), fold(name))
}

/// Lower-case letters and digits only, so that `aws_elastic` and `awsElastic` are one.
pub(super) fn fold(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

fn read_field(field: &syn::Field, module: &[String]) -> anyhow::Result<Option<MessageField>> {
    let Some(attribute) = field.attrs.iter().find(|attribute| attribute.path().is_ident("prost")) else {
        return Ok(None);
    };
    let ident = field.ident.as_ref().context("a field without a name")?.to_string();
    let name = ident.trim_start_matches("r#").to_owned();
    let (mut kind, shape, tag) = read_attribute(attribute)?;
    if kind == "message" {
        kind = message_key(&field.ty, module).context("a message field without a message type")?;
    }
    Ok(Some(MessageField { folded: fold(&name), name, tag, shape, of: kind }))
}

fn read_attribute(attribute: &Attribute) -> anyhow::Result<(String, Shape, u32)> {
    let (mut kind, mut shape, mut tag) = (String::new(), Shape::One, 0);
    attribute.parse_nested_meta(|meta| {
        let word = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        let text =
            if meta.input.peek(syn::Token![=]) { meta.value()?.parse::<syn::LitStr>()?.value() } else { String::new() };
        match word.as_str() {
            "optional" | "boxed" | "packed" => {}
            "repeated" => shape = Shape::Many,
            "tag" => tag = text.parse().map_err(|_| meta.error("a tag that is no number"))?,
            "btree_map" => {
                shape = Shape::Map;
                text.rsplit(", ").next().unwrap_or_default().clone_into(&mut kind);
            }
            other => other.clone_into(&mut kind),
        }
        Ok(())
    })?;
    if tag == 0 || kind.is_empty() {
        bail!("an attribute without tag or type");
    }
    Ok((kind, shape, tag))
}

/// The key of the message a type such as `Option<super::v1::ObjectMeta>` or `BTreeMap<String, Quantity>` is made of.
fn message_key(ty: &Type, module: &[String]) -> Option<String> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    if let PathArguments::AngleBracketed(arguments) = &last.arguments {
        return match arguments.args.last()? {
            GenericArgument::Type(inner) => message_key(inner, module),
            _ => None,
        };
    }
    let mut at = module.to_vec();
    let count = path.path.segments.len();
    for segment in path.path.segments.iter().take(count - 1) {
        match segment.ident.to_string().as_str() {
            "super" => drop(at.pop()),
            other => at.push(other.trim_start_matches("r#").to_owned()),
        }
    }
    Some(key(&at, &last.ident.to_string()))
}
