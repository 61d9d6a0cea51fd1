//! Which fields a kind has, and of what type: the facts behind decoding, protobuf, patches, apply and OpenAPI.

mod descriptions;
mod parse;
mod sample;
mod zeros;

pub use parse::ParseSchemaError;
pub use sample::sample;

use crate::value::{Key, Value};
use descriptions::Descriptions;
use std::{collections::HashMap, sync::OnceLock};

/// A type of a [`Schema`]. Only means something to the schema it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(u32);

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text.
    String,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A truth value.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A number.
    Double,
    /// A quantity such as `100m`; JSON may also have a number.
    Quantity,
    /// A time in whole seconds.
    Time,
    /// A time with microseconds.
    MicroTime,
    /// A duration such as `1m30s`.
    Duration,
    /// A whole number or text.
    IntOrString,
    /// Any JSON.
    Json,
    /// An object of a kind not known here.
    Raw,
    /// The set of fields a manager owns.
    Fields,
    /// A list of text that has a message of its own in protobuf.
    Strings,
    /// A JSON schema or a list of them.
    SchemaOrList(TypeId),
    /// A JSON schema or a truth value.
    SchemaOrBool(TypeId),
    /// A JSON schema or a list of text.
    SchemaOrStrings(TypeId),
    /// A map with known fields.
    Object(TypeId),
    /// A list.
    List(Box<Type>),
    /// A map with free keys.
    Map(Box<Type>),
}

impl Type {
    /// The type with known fields this is, or is a list or map of.
    pub fn object(&self) -> Option<TypeId> {
        match self {
            Self::Object(id) | Self::SchemaOrBool(id) | Self::SchemaOrList(id) | Self::SchemaOrStrings(id) => Some(*id),
            Self::List(of) | Self::Map(of) => of.object(),
            _ => None,
        }
    }

    /// The type of the items of a list.
    pub fn items(&self) -> Option<&Type> {
        match self {
            Self::List(of) => Some(of),
            Self::Strings => Some(&Self::String),
            _ => None,
        }
    }
}

/// How the items of a list are told apart when several people change it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// The list changes as a whole.
    #[default]
    Atomic,
    /// Items are their own names.
    Set,
    /// Items are named by these fields of theirs.
    Map(Box<[Box<str>]>),
}

/// What a strategic merge patch does with a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists are merged instead of replaced.
    pub merge: bool,
    /// Maps are replaced instead of merged.
    pub replace: bool,
    /// Fields not named in `$retainKeys` go away.
    pub retain_keys: bool,
    /// The field by which items of a merged list are matched.
    pub merge_key: Option<Box<str>>,
}

/// A field of a type.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are separate facts, not states")]
pub struct Field {
    /// The JSON name.
    pub key: Key,
    /// What it holds.
    pub of: Type,
    /// The protobuf numbers that lead to it: one, or more where upstream embeds a struct; none for `apiVersion` and `kind`.
    pub tags: Box<[u32]>,
    /// Whether the OpenAPI says it is required.
    pub required: bool,
    /// Whether absent and zero differ. A struct that is no pointer always exists in Go.
    pub pointer: bool,
    /// Whether it is written when it is zero.
    pub keep_zero: bool,
    /// How items are told apart.
    pub list: ListKind,
    /// Whether the map or struct changes as a whole.
    pub atomic: bool,
    /// What strategic merge patches do.
    pub patch: PatchStrategy,
}

impl Field {
    /// A field with a name and a type, and nothing special about it.
    pub fn new(key: impl Into<Key>, of: Type) -> Self {
        Self {
            key: key.into(),
            of,
            tags: Box::default(),
            required: false,
            pointer: false,
            keep_zero: false,
            list: ListKind::default(),
            atomic: false,
            patch: PatchStrategy::default(),
        }
    }

    /// The JSON name.
    pub fn name(&self) -> &str {
        &self.key
    }

    /// Whether a value stays in this field when it is read. Null never does; zero stays where Go would write it again.
    pub fn keeps(&self, value: &Value, verbatim: bool) -> bool {
        if value.is_null() {
            // The types that are JSON themselves can hold null.
            return matches!(self.of, Type::Json) || (verbatim && matches!(self.of, Type::Raw | Type::Fields));
        }
        // Only fields with protobuf numbers come from Go structs; others have no zero rules.
        if verbatim || self.tags.is_empty() || self.pointer || self.keep_zero || self.required {
            return true;
        }
        match self.of {
            Type::Quantity | Type::IntOrString | Type::Object(_) | Type::Json | Type::Raw | Type::Fields => true,
            Type::SchemaOrBool(_) | Type::SchemaOrList(_) | Type::SchemaOrStrings(_) => true,
            _ => !value.is_empty(),
        }
    }
}

/// A type with known fields.
#[derive(Clone, Debug, Default)]
pub struct ObjectType {
    /// A short name such as `core.v1.Pod`.
    pub name: Box<str>,
    /// Group and version of the kinds this is served as; the kind is the last part of the name.
    pub kinds: Vec<(Box<str>, Box<str>)>,
    /// The fields, in order of their names.
    pub fields: Vec<Field>,
    /// Whether values change as a whole.
    pub atomic: bool,
    /// Whether fields not listed are kept and are not errors.
    pub preserve_unknown: bool,
}

impl ObjectType {
    /// The field of a name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|field| field.name().cmp(name)).ok().map(|index| &self.fields[index])
    }

    /// The last part of the name: the kind, where there is one.
    pub fn kind(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    /// The name in OpenAPI, such as `io.k8s.api.core.v1.Pod`.
    pub fn openapi_name(&self) -> String {
        let group = self.name.split('.').next().unwrap_or_default();
        let prefix = match group {
            "meta" => "io.k8s.apimachinery.pkg.apis.",
            "apiextensions" => "io.k8s.apiextensions-apiserver.pkg.apis.",
            "apiregistration" => "io.k8s.kube-aggregator.pkg.apis.",
            "metrics" => "io.k8s.metrics.pkg.apis.",
            _ => "io.k8s.api.",
        };
        format!("{prefix}{}", self.name)
    }
}

/// What a protobuf number leads to.
#[derive(Clone, Copy, Debug)]
pub enum Tagged<'s> {
    /// A field.
    Field(&'s Field),
    /// A struct upstream embeds: its fields are in the same map.
    Embedded,
    /// Nothing.
    Unknown,
}

const NO_FIELD: u16 = u16::MAX;
const EMBEDDED: u16 = u16::MAX - 1;

fn tag_table(of: &ObjectType) -> Box<[u16]> {
    let first = |field: &Field| field.tags.first().map_or(0, |tag| *tag as usize);
    let mut table = vec![NO_FIELD; of.fields.iter().map(first).max().map_or(0, |highest| highest + 1)];
    for (index, field) in of.fields.iter().enumerate() {
        match *field.tags {
            [] => {}
            [tag] => table[tag as usize] = u16::try_from(index).unwrap_or(NO_FIELD),
            [tag, ..] => table[tag as usize] = EMBEDDED,
        }
    }
    table.into()
}

/// The types of an API.
#[derive(Debug, Default)]
pub struct Schema {
    types: Vec<ObjectType>,
    /// For each type, by first protobuf number: the place of its field, or [`EMBEDDED`], or [`NO_FIELD`].
    tags: Vec<Box<[u16]>>,
    names: HashMap<Box<str>, TypeId>,
    kinds: HashMap<Box<str>, Vec<TypeId>>,
    /// Kinds that are the same in every group.
    everywhere: Vec<TypeId>,
    read_descriptions: Option<fn() -> String>,
    descriptions: OnceLock<Descriptions>,
}

impl Schema {
    /// A schema without types.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says how to get the prose; it is asked for once, when first needed.
    pub fn set_descriptions(&mut self, read: fn() -> String) {
        self.read_descriptions = Some(read);
    }

    /// Adds a type. Its fields are put in order.
    pub fn add(&mut self, mut added: ObjectType) -> TypeId {
        added.fields.sort_by(|a, b| a.name().cmp(b.name()));
        let id = TypeId(u32::try_from(self.types.len()).expect("a schema has fewer than 2^32 types"));
        self.names.insert(added.name.clone(), id);
        if !added.kinds.is_empty() {
            self.kinds.entry(added.kind().into()).or_default().push(id);
        }
        self.tags.push(tag_table(&added));
        self.types.push(added);
        id
    }

    /// Replaces a type added before, as is needed for types that contain themselves.
    pub fn replace(&mut self, id: TypeId, mut replacement: ObjectType) {
        replacement.fields.sort_by(|a, b| a.name().cmp(b.name()));
        self.tags[id.0 as usize] = tag_table(&replacement);
        self.types[id.0 as usize] = replacement;
    }

    /// Copies a type, and all it refers to, from another schema.
    pub fn import(&mut self, from: &Schema, id: TypeId) -> TypeId {
        if let Some(known) = self.names.get(&from.get(id).name) {
            return *known;
        }
        let mut copy = from.get(id).clone();
        let fields = std::mem::take(&mut copy.fields);
        let new_id = self.add(copy.clone());
        copy.fields = fields
            .into_iter()
            .map(|mut field| {
                field.of = self.import_type(from, &field.of);
                field
            })
            .collect();
        self.replace(new_id, copy);
        new_id
    }

    fn import_type(&mut self, from: &Schema, of: &Type) -> Type {
        match of {
            Type::Object(id) => Type::Object(self.import(from, *id)),
            Type::SchemaOrBool(id) => Type::SchemaOrBool(self.import(from, *id)),
            Type::SchemaOrList(id) => Type::SchemaOrList(self.import(from, *id)),
            Type::SchemaOrStrings(id) => Type::SchemaOrStrings(self.import(from, *id)),
            Type::List(of) => Type::List(Box::new(self.import_type(from, of))),
            Type::Map(of) => Type::Map(Box::new(self.import_type(from, of))),
            other => other.clone(),
        }
    }

    /// The type of a kind.
    pub fn type_for_gvk(&self, group: &str, version: &str, kind: &str) -> Option<TypeId> {
        let candidates = self.kinds.get(kind).map_or(&[][..], Vec::as_slice);
        let exact =
            candidates.iter().find(|id| self.get(**id).kinds.iter().any(|(g, v)| (&**g, &**v) == (group, version)));
        exact.or_else(|| self.everywhere.iter().find(|id| self.get(**id).kind() == kind)).copied()
    }

    /// The type of an object, by its `apiVersion` and `kind`.
    pub fn type_of(&self, api_version: &str, kind: &str) -> Option<TypeId> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.type_for_gvk(group, version, kind)
    }

    /// The type of a short name such as `core.v1.PodSpec`.
    pub fn type_named(&self, name: &str) -> Option<TypeId> {
        self.names.get(name).copied()
    }

    /// A type.
    pub fn get(&self, id: TypeId) -> &ObjectType {
        &self.types[id.0 as usize]
    }

    /// A field of a type.
    pub fn field(&self, id: TypeId, name: &str) -> Option<&Field> {
        self.get(id).field(name)
    }

    /// What a protobuf number of a type leads to.
    pub fn by_tag(&self, id: TypeId, tag: u32) -> Tagged<'_> {
        let place = usize::try_from(tag).ok().and_then(|tag| self.tags[id.0 as usize].get(tag).copied());
        match place.unwrap_or(NO_FIELD) {
            NO_FIELD => Tagged::Unknown,
            EMBEDDED => Tagged::Embedded,
            index => Tagged::Field(&self.get(id).fields[usize::from(index)]),
        }
    }

    /// All types.
    pub fn types(&self) -> impl ExactSizeIterator<Item = (TypeId, &ObjectType)> {
        self.types.iter().enumerate().map(|(index, of)| (TypeId(u32::try_from(index).expect("as in add")), of))
    }

    /// The prose about a type, or about a field of it; "" if there is none.
    pub fn description(&self, id: TypeId, field: Option<&str>) -> &str {
        let descriptions = self
            .descriptions
            .get_or_init(|| Descriptions::parse(&self.read_descriptions.map_or_else(String::new, |read| read())));
        descriptions.get(&self.get(id).name, field.unwrap_or_default())
    }
}

#[cfg(test)]
pub(crate) mod tests;
