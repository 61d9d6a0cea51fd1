//! The types of the schema as OpenAPI definitions.

use std::collections::BTreeSet;

use apimachinery::schema::{Field, ListKind, ObjectType, Type, TypeId};
use serde_json::{Value, json};

use super::Tree;

/// Which OpenAPI is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    /// A reference to a definition.
    pub(super) fn reference(self, name: &str) -> String {
        match self {
            Self::V2 => format!("#/definitions/{name}"),
            Self::V3 => format!("#/components/schemas/{name}"),
        }
    }
}

/// A set of definitions that is closed under reference.
pub(super) struct Definitions {
    dialect: Dialect,
    seen: BTreeSet<TypeId>,
    all: Tree,
}

impl Definitions {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, seen: BTreeSet::new(), all: Tree::new() }
    }

    /// Adds a type and all it refers to.
    pub(super) fn add(&mut self, root: TypeId) {
        let mut waiting = vec![root];
        while let Some(id) = waiting.pop() {
            if !self.seen.insert(id) {
                continue;
            }
            let of = api::schema().get(id);
            for field in &of.fields {
                self.add_special(&field.of);
                waiting.extend(referred(&field.of));
            }
            let definition = self.object(id, of);
            self.all.insert(of.openapi_name(), definition);
        }
    }

    pub(super) fn finish(self) -> Tree {
        self.all
    }

    fn object(&self, id: TypeId, of: &ObjectType) -> Value {
        let schema = api::schema();
        let mut definition = Tree::new();
        describe(&mut definition, schema.description(id, None));
        definition.insert("type".into(), "object".into());
        if !of.fields.is_empty() {
            let field = |field: &Field| {
                let value = self.field(field, schema.description(id, Some(field.name())));
                (field.name().to_owned(), Value::Object(value))
            };
            definition.insert("properties".into(), Value::Object(of.fields.iter().map(field).collect()));
        }
        let required: Vec<&str> = of.fields.iter().filter(|field| field.required).map(Field::name).collect();
        if !required.is_empty() {
            definition.insert("required".into(), json!(required));
        }
        let kinds: Vec<Value> = of
            .kinds
            .iter()
            .filter(|(group, _)| &**group != "*")
            .map(|(group, version)| json!({ "group": group, "version": version, "kind": of.kind() }))
            .collect();
        if !kinds.is_empty() {
            definition.insert("x-kubernetes-group-version-kind".into(), Value::Array(kinds));
        }
        if of.atomic {
            definition.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        if of.preserve_unknown {
            definition.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
        }
        Value::Object(definition)
    }

    fn field(&self, field: &Field, prose: &str) -> Tree {
        let mut value = self.of(&field.of);
        if self.dialect == Dialect::V3
            && let Some(reference) = value.remove("$ref")
        {
            // A reference has no siblings in OpenAPI 3.
            value.insert("allOf".into(), json!([{ "$ref": reference }]));
        }
        describe(&mut value, prose);
        match &field.list {
            _ if field.of.items().is_none() => {}
            ListKind::Atomic => drop(value.insert("x-kubernetes-list-type".into(), "atomic".into())),
            ListKind::Set => drop(value.insert("x-kubernetes-list-type".into(), "set".into())),
            ListKind::Map(keys) => {
                value.insert("x-kubernetes-list-map-keys".into(), json!(keys));
                value.insert("x-kubernetes-list-type".into(), "map".into());
            }
        }
        if field.atomic {
            value.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        let patch = &field.patch;
        let strategies: Vec<&str> =
            [(patch.merge, "merge"), (patch.replace, "replace"), (patch.retain_keys, "retainKeys")]
                .into_iter()
                .filter_map(|(set, name)| set.then_some(name))
                .collect();
        if !strategies.is_empty() {
            value.insert("x-kubernetes-patch-strategy".into(), strategies.join(",").into());
        }
        if let Some(key) = &patch.merge_key {
            value.insert("x-kubernetes-patch-merge-key".into(), Value::from(&**key));
        }
        value
    }

    fn of(&self, of: &Type) -> Tree {
        let simple = |kind: &str, format: &str| {
            let mut value = Tree::new();
            value.insert("type".into(), kind.into());
            if !format.is_empty() {
                value.insert("format".into(), format.into());
            }
            value
        };
        match of {
            Type::String => simple("string", ""),
            Type::Bytes => simple("string", "byte"),
            Type::Bool => simple("boolean", ""),
            Type::Int32 => simple("integer", "int32"),
            Type::Int64 => simple("integer", "int64"),
            Type::Double => simple("number", "double"),
            Type::Object(id) => self.reference(&api::schema().get(*id).openapi_name()),
            Type::Strings => self.list(&Type::String),
            Type::List(items) => self.list(items),
            Type::Map(values) => {
                let mut value = simple("object", "");
                value.insert("additionalProperties".into(), self.item(values));
                value
            }
            special => special_type(special).map_or_else(Tree::new, |(name, ..)| self.reference(name)),
        }
    }

    fn list(&self, items: &Type) -> Tree {
        let mut value = Tree::new();
        value.insert("type".into(), "array".into());
        value.insert("items".into(), self.item(items));
        value
    }

    fn item(&self, of: &Type) -> Value {
        Value::Object(self.of(of))
    }

    fn reference(&self, name: &str) -> Tree {
        std::iter::once(("$ref".to_owned(), self.dialect.reference(name).into())).collect()
    }

    /// Adds the definition behind a type that is no object of the schema.
    fn add_special(&mut self, of: &Type) {
        if let Type::List(inner) | Type::Map(inner) = of {
            return self.add_special(inner);
        }
        let Some((name, kind, format, prose)) = special_type(of) else { return };
        if self.all.contains_key(name) {
            return;
        }
        let mut value = Tree::new();
        describe(&mut value, prose);
        let either = matches!(of, Type::IntOrString | Type::Quantity) && self.dialect == Dialect::V3;
        if either {
            let number = if *of == Type::Quantity { "number" } else { "integer" };
            value.insert("oneOf".into(), json!([{ "type": "string" }, { "type": number }]));
        } else if !kind.is_empty() {
            value.insert("type".into(), kind.into());
        }
        if !format.is_empty() {
            value.insert("format".into(), format.into());
        }
        self.all.insert(name.to_owned(), Value::Object(value));
    }
}

fn describe(value: &mut Tree, prose: &str) {
    if !prose.is_empty() {
        value.insert("description".into(), prose.into());
    }
}

/// The types with known fields that a type leads to.
fn referred(of: &Type) -> Option<TypeId> {
    match of {
        Type::Object(id) | Type::SchemaOrBool(id) | Type::SchemaOrList(id) | Type::SchemaOrStrings(id) => Some(*id),
        Type::List(inner) | Type::Map(inner) => referred(inner),
        _ => None,
    }
}

/// Name, JSON type, format and meaning of the types with a JSON form of their own.
fn special_type(of: &Type) -> Option<(&'static str, &'static str, &'static str, &'static str)> {
    Some(match of {
        Type::Quantity => (
            "io.k8s.apimachinery.pkg.api.resource.Quantity",
            "string",
            "",
            "An exact number with a unit, such as 100m, 1.5, 64Mi or 2e3.",
        ),
        Type::Time => {
            ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "string", "date-time", "A time in whole seconds, RFC 3339.")
        }
        Type::MicroTime => (
            "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
            "string",
            "date-time",
            "A time with microseconds, RFC 3339.",
        ),
        Type::Duration => {
            ("io.k8s.apimachinery.pkg.apis.meta.v1.Duration", "string", "", "A length of time such as 1h30m.")
        }
        Type::IntOrString => {
            ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "string", "int-or-string", "A whole number or a text.")
        }
        Type::Json => ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "", "", "Any JSON value."),
        Type::Raw => ("io.k8s.apimachinery.pkg.runtime.RawExtension", "object", "", "An object of any kind."),
        Type::Fields => {
            ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "object", "", "The set of fields a manager owns.")
        }
        Type::SchemaOrList(_) => (
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
            "",
            "",
            "A schema or a list of schemas.",
        ),
        Type::SchemaOrBool(_) => (
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
            "",
            "",
            "A schema or a truth value.",
        ),
        Type::SchemaOrStrings(_) => (
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
            "",
            "",
            "A schema or a list of texts.",
        ),
        _ => return None,
    })
}
