//! Joins the descriptions, type by type and field by field, and refuses to leave a gap.

use super::{
    definitions::{Definition, Kind, Property, well_known},
    go_tags::{GoField, GoTypes},
    messages::{Message, MessageField, Messages, Shape, fold},
};
use anyhow::{Context, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// A type as it will be written.
pub(super) struct JoinedType {
    pub(super) name: String,
    pub(super) kinds: Vec<Kind>,
    pub(super) atomic: bool,
    pub(super) description: String,
    pub(super) fields: Vec<JoinedField>,
}

/// A field as it will be written.
pub(super) struct JoinedField {
    pub(super) name: String,
    pub(super) type_text: String,
    /// The protobuf numbers from the message to the field; several where Go embeds structs; none for `apiVersion` and `kind`.
    pub(super) tags: Vec<u32>,
    pub(super) flags: Vec<String>,
    pub(super) description: String,
}

/// Types only the protobuf description knows, and the kinds they are served as.
const MESSAGE_ONLY: &[(&str, &[(&str, &str)])] = &[
    ("admission.v1.AdmissionRequest", &[]),
    ("admission.v1.AdmissionResponse", &[]),
    ("admission.v1.AdmissionReview", &[("admission.k8s.io", "v1")]),
    ("apidiscovery.v2.APIGroupDiscovery", &[("apidiscovery.k8s.io", "v2")]),
    ("apidiscovery.v2.APIGroupDiscoveryList", &[("apidiscovery.k8s.io", "v2")]),
    ("apidiscovery.v2.APIResourceDiscovery", &[]),
    ("apidiscovery.v2.APISubresourceDiscovery", &[]),
    ("apidiscovery.v2.APIVersionDiscovery", &[]),
    ("core.v1.RangeAllocation", &[("", "v1")]),
    ("meta.v1.CreateOptions", &[("meta.k8s.io", "v1")]),
    ("meta.v1.GroupVersionKind", &[]),
    ("meta.v1.GroupVersionResource", &[]),
    ("meta.v1.ListOptions", &[("meta.k8s.io", "v1")]),
    ("meta.v1.PartialObjectMetadata", &[("meta.k8s.io", "v1")]),
    ("meta.v1.PartialObjectMetadataList", &[("meta.k8s.io", "v1")]),
    ("meta.v1.PatchOptions", &[("meta.k8s.io", "v1")]),
    ("meta.v1.UpdateOptions", &[("meta.k8s.io", "v1")]),
    ("metrics.v1beta1.ContainerMetrics", &[]),
    ("metrics.v1beta1.NodeMetrics", &[("metrics.k8s.io", "v1beta1")]),
    ("metrics.v1beta1.NodeMetricsList", &[("metrics.k8s.io", "v1beta1")]),
    ("metrics.v1beta1.PodMetrics", &[("metrics.k8s.io", "v1beta1")]),
    ("metrics.v1beta1.PodMetricsList", &[("metrics.k8s.io", "v1beta1")]),
];

/// Types that only ever travel as JSON.
const JSON_ONLY: &[&str] = &["pkg.version.Info", "meta.v1.Patch"];

/// Messages that stand for a JSON list of text.
const WRAPPED_STRINGS: &[&str] = &["extravalue", "verbs"];

/// Joins everything.
pub(super) fn join(
    definitions: &BTreeMap<String, Definition>,
    messages: &Messages,
    go: &GoTypes,
) -> anyhow::Result<Vec<JoinedType>> {
    let mut types = Vec::new();
    for (name, definition) in definitions {
        if well_known(name).is_some() || JSON_ONLY.contains(&name.as_str()) {
            continue;
        }
        types.push(join_type(name, definition, messages, go).with_context(|| name.clone())?);
    }
    for (name, served) in MESSAGE_ONLY {
        types.push(message_only(name, served, messages, go).with_context(|| name.to_string())?);
    }
    types.sort_by(|a, b| a.name.cmp(&b.name));
    check_references(&types)?;
    Ok(types)
}

fn message_of<'m>(name: &str, messages: &'m Messages) -> anyhow::Result<&'m Message> {
    messages.get(&message_key(name)).with_context(|| format!("no message for {name}"))
}

fn message_key(name: &str) -> String {
    let (package, simple) = name.rsplit_once('.').unwrap_or(("", name));
    format!("{package}.{}", fold(simple))
}

fn join_type(name: &str, definition: &Definition, messages: &Messages, go: &GoTypes) -> anyhow::Result<JoinedType> {
    let message = message_of(name, messages)?;
    let flat = flatten(message, definition, messages, &message_key(name))?;
    let mut used = BTreeSet::new();
    let mut fields = Vec::new();
    for (field_name, property) in &definition.properties {
        let found = flat.iter().find(|candidate| candidate.field.folded == fold(field_name));
        let Some(found) = found else {
            ensure!(field_name == "apiVersion" || field_name == "kind", "no protobuf number for {field_name}");
            fields.push(JoinedField {
                name: field_name.clone(),
                type_text: "string".into(),
                tags: Vec::new(),
                flags: Vec::new(),
                description: property.description.clone(),
            });
            continue;
        };
        used.insert(found.tags.clone());
        let fact = go_fact(go, found, field_name)?;
        let required = definition.required.contains(field_name);
        fields.push(join_field(field_name, property, found, fact, required).with_context(|| field_name.clone())?);
    }
    for rest in &flat {
        ensure!(used.contains(&rest.tags), "no JSON name for protobuf field {} = {:?}", rest.field.name, rest.tags);
    }
    Ok(JoinedType {
        name: name.to_owned(),
        kinds: definition.kinds.clone(),
        atomic: definition.map_type == "atomic",
        description: definition.description.clone(),
        fields,
    })
}

/// A protobuf field with the numbers that lead to it.
struct FlatField<'m> {
    tags: Vec<u32>,
    owner: String,
    field: &'m MessageField,
}

/// The fields of a message, with those of embedded messages that JSON does not show as one.
fn flatten<'m>(
    message: &'m Message,
    definition: &Definition,
    messages: &'m Messages,
    owner: &str,
) -> anyhow::Result<Vec<FlatField<'m>>> {
    let mut flat = Vec::new();
    for field in &message.fields {
        if definition.properties.keys().any(|name| fold(name) == field.folded) || field.shape != Shape::One {
            flat.push(FlatField { tags: vec![field.tag], owner: owner.to_owned(), field });
            continue;
        }
        let Some(inner) = messages.get(&field.of) else { bail!("protobuf field {} has no JSON name", field.name) };
        for mut nested in flatten(inner, definition, messages, &field.of)? {
            nested.tags.insert(0, field.tag);
            flat.push(nested);
        }
    }
    Ok(flat)
}

/// What Go says about the field; where Go is silent there is nothing to check.
fn go_fact<'g>(go: &'g GoTypes, found: &FlatField<'_>, name: &str) -> anyhow::Result<Option<&'g GoField>> {
    let Some(fields) = go.get(&found.owner) else {
        return Ok(None);
    };
    let fact = fields.iter().find(|field| field.json == name).with_context(|| format!("Go has no field {name}"))?;
    ensure!(
        Some(&fact.tag) == found.tags.last(),
        "{name} has number {} in Go, {:?} in the message",
        fact.tag,
        found.tags
    );
    Ok(Some(fact))
}

/// Whether a Go pointer to the type tells more than the value: lists and maps are absent when empty anyway.
fn can_be_nil(type_text: &str) -> bool {
    !type_text.starts_with("[]")
        && !type_text.starts_with("{}")
        && !matches!(type_text, "json" | "raw" | "fields" | "strings")
}

fn join_field(
    name: &str,
    property: &Property,
    found: &FlatField<'_>,
    fact: Option<&GoField>,
    required: bool,
) -> anyhow::Result<JoinedField> {
    let mut type_text = property.type_text()?;
    let wrapped = WRAPPED_STRINGS.iter().any(|wrapper| found.field.of.ends_with(&format!(".{wrapper}")));
    if wrapped {
        ensure!(type_text.ends_with("[]string"), "a wrapper around {type_text}");
        type_text = type_text.replace("[]string", "strings");
    }
    check_types(&type_text, found.field)?;
    let mut flags = Vec::new();
    if required {
        flags.push("required".to_owned());
    }
    if let Some(fact) = fact {
        if fact.pointer && can_be_nil(&type_text) {
            flags.push("ptr".to_owned());
        }
        if fact.keep_zero {
            flags.push("keep".to_owned());
        }
    }
    match property.list_type.as_str() {
        "" => {}
        "map" => flags.push(format!("list=map:{}", property.list_map_keys.join(","))),
        other => flags.push(format!("list={other}")),
    }
    if !property.map_type.is_empty() {
        flags.push(format!("map={}", property.map_type));
    }
    if !property.patch_strategy.is_empty() || !property.patch_merge_key.is_empty() {
        flags.push(format!("patch={}:{}", property.patch_strategy, property.patch_merge_key));
    }
    Ok(JoinedField {
        name: name.to_owned(),
        type_text,
        tags: found.tags.clone(),
        flags,
        description: property.description.clone(),
    })
}

/// Both descriptions must mean the same type.
fn check_types(type_text: &str, field: &MessageField) -> anyhow::Result<()> {
    let (shape, of) = if let Some(of) = type_text.strip_prefix("[]") {
        (Shape::Many, of)
    } else if let Some(of) = type_text.strip_prefix("{}") {
        (Shape::Map, of)
    } else {
        (Shape::One, type_text)
    };
    let same = match of {
        "string" | "bool" | "int32" | "int64" | "double" | "bytes" => of == field.of,
        scalar if !scalar.contains('.') => field.of.contains('.'),
        name => message_key(name) == field.of,
    };
    // JSON knows no bytes below maps, and shows some 64-bit numbers as plain integers.
    let lenient = matches!((of, field.of.as_str()), ("int64", "int32") | ("string", "bytes"));
    ensure!(
        shape == field.shape && (same || lenient),
        "{type_text} in JSON, {:?} of {} in protobuf",
        field.shape,
        field.of
    );
    Ok(())
}

/// A type without JSON description: names come from Go, or from the snake case of the message.
fn message_only(name: &str, served: &[(&str, &str)], messages: &Messages, go: &GoTypes) -> anyhow::Result<JoinedType> {
    let message = message_of(name, messages)?;
    let (_, kind) = name.rsplit_once('.').context("a name without a package")?;
    let mut fields = Vec::new();
    if !served.is_empty() {
        for (meta, description) in [("apiVersion", ""), ("kind", "")] {
            fields.push(JoinedField {
                name: meta.into(),
                type_text: "string".into(),
                tags: Vec::new(),
                flags: Vec::new(),
                description: description.into(),
            });
        }
    }
    for field in &message.fields {
        let fact = go.get(&message_key(name)).and_then(|facts| facts.iter().find(|fact| fact.tag == field.tag));
        let type_text = message_type(field)?;
        let mut flags = Vec::new();
        if fact.is_some_and(|fact| fact.pointer) && can_be_nil(&type_text) {
            flags.push("ptr".to_owned());
        }
        if fact.is_some_and(|fact| fact.keep_zero) {
            flags.push("keep".to_owned());
        }
        let json = fact.map_or_else(|| camel_case(&field.name), |fact| fact.json.clone());
        fields.push(JoinedField { name: json, type_text, tags: vec![field.tag], flags, description: String::new() });
    }
    let kinds = served
        .iter()
        .map(|(group, version)| Kind { group: (*group).into(), version: (*version).into(), kind: kind.into() })
        .collect();
    Ok(JoinedType { name: name.to_owned(), kinds, atomic: false, description: String::new(), fields })
}

fn message_type(field: &MessageField) -> anyhow::Result<String> {
    let of = match field.of.as_str() {
        scalar if !scalar.contains('.') => scalar,
        "api.resource.quantity" => "quantity",
        "meta.v1.time" => "time",
        "meta.v1.duration" => "duration",
        "pkg.runtime.rawextension" => "raw",
        other => {
            let known = MESSAGE_ONLY.iter().map(|(name, _)| *name).chain(REFERENCED.iter().copied());
            known
                .into_iter()
                .find(|name| message_key(name) == other)
                .with_context(|| format!("unknown message {other}"))?
        }
    };
    Ok(match field.shape {
        Shape::One => of.to_owned(),
        Shape::Many => format!("[]{of}"),
        Shape::Map => format!("{{}}{of}"),
    })
}

/// Described types that undescribed ones refer to.
const REFERENCED: &[&str] = &["meta.v1.ObjectMeta", "meta.v1.ListMeta", "meta.v1.Status", "authentication.v1.UserInfo"];

fn camel_case(snake: &str) -> String {
    let mut words = snake.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let mut letters = word.chars();
        let head = letters.next().map(|letter| letter.to_ascii_uppercase());
        name + &head.into_iter().chain(letters).collect::<String>()
    })
}

fn check_references(types: &[JoinedType]) -> anyhow::Result<()> {
    let names: BTreeSet<&str> = types.iter().map(|joined| joined.name.as_str()).collect();
    for (joined, field) in types.iter().flat_map(|joined| joined.fields.iter().map(move |field| (joined, field))) {
        let of = field.type_text.trim_start_matches(['[', ']', '{', '}']);
        ensure!(!of.contains('.') || names.contains(of), "{}.{} is of the unknown type {of}", joined.name, field.name);
    }
    Ok(())
}
