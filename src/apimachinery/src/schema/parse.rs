//! Reads the generated table: a line per type, followed by indented lines for its fields.
//!
//! ```text
//! core.v1.Service kind=/v1
//!  spec core.v1.ServiceSpec 2
//! ```

use super::{Field, ListKind, ObjectType, PatchStrategy, Schema, Type, TypeId};
use crate::value::Key;
use std::collections::HashMap;

/// A line of the table makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the schema table: {what}")]
pub struct ParseSchemaError {
    line: usize,
    what: String,
}

impl Schema {
    /// Reads a table that lives as long as the process.
    pub fn parse(text: &'static str) -> Result<Self, ParseSchemaError> {
        let mut parser = Parser { ids: type_ids(text), known: HashMap::new() };
        let mut schema = Self::new();
        let mut current: Option<ObjectType> = None;
        for (index, line) in text.lines().enumerate() {
            let fail = |what| ParseSchemaError { line: index + 1, what };
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(field) = line.strip_prefix(' ') {
                let owner = current.as_mut().ok_or_else(|| fail("a field before any type".into()))?;
                owner.fields.push(parser.field(field).map_err(fail)?);
            } else {
                schema.finish(current.replace(type_line(line).map_err(fail)?));
            }
        }
        schema.finish(current);
        Ok(schema)
    }

    fn finish(&mut self, done: Option<ObjectType>) {
        let Some(mut done) = done else { return };
        let everywhere = done.kinds.first().is_some_and(|(group, _)| &**group == "*");
        if everywhere {
            done.kinds.clear();
        }
        let id = self.add(done);
        if everywhere {
            self.everywhere.push(id);
        }
    }
}

/// Types are numbered in the order of the table, so that a field may refer to a later one.
fn type_ids(text: &'static str) -> HashMap<&'static str, TypeId> {
    text.lines()
        .filter(|line| !line.starts_with([' ', '#']) && !line.is_empty())
        .zip(0..)
        .map(|(line, index)| (line.split(' ').next().unwrap_or_default(), TypeId(index)))
        .collect()
}

fn type_line(line: &str) -> Result<ObjectType, String> {
    let mut words = line.split(' ');
    let mut of = ObjectType { name: words.next().unwrap_or_default().into(), ..ObjectType::default() };
    for word in words {
        match word.split_once('=') {
            Some(("kind", "*")) => of.kinds.push(("*".into(), "*".into())),
            Some(("kind", kind)) => {
                let (group, version) = kind.split_once('/').ok_or_else(|| format!("kind {kind:?}"))?;
                of.kinds.push((group.into(), version.into()));
            }
            None if word == "atomic" => of.atomic = true,
            _ => return Err(format!("unknown flag {word:?}")),
        }
    }
    Ok(of)
}

struct Parser {
    ids: HashMap<&'static str, TypeId>,
    known: HashMap<&'static str, &'static &'static str>,
}

impl Parser {
    fn field(&mut self, line: &'static str) -> Result<Field, String> {
        let mut words = line.split(' ');
        let (Some(name), Some(of), Some(tags)) = (words.next(), words.next(), words.next()) else {
            return Err("a field needs name, type and number".into());
        };
        // The names of a schema are few, shared by all its types, and needed for good.
        let name = self.known.entry(name).or_insert_with(|| Box::leak(Box::new(name)));
        let mut field = Field::new(Key::Known(name), self.of(of)?);
        if tags != "-" {
            field.tags =
                tags.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| format!("numbers {tags:?}"))?;
        }
        words.try_for_each(|word| flag(&mut field, word))?;
        Ok(field)
    }

    fn of(&self, text: &str) -> Result<Type, String> {
        if let Some(items) = text.strip_prefix("[]") {
            return Ok(Type::List(Box::new(self.of(items)?)));
        }
        if let Some(values) = text.strip_prefix("{}") {
            return Ok(Type::Map(Box::new(self.of(values)?)));
        }
        let id = |name: &str| self.ids.get(name).copied().ok_or_else(|| format!("unknown type {name:?}"));
        Ok(match text {
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "bool" => Type::Bool,
            "int32" => Type::Int32,
            "int64" => Type::Int64,
            "double" => Type::Double,
            "quantity" => Type::Quantity,
            "time" => Type::Time,
            "microtime" => Type::MicroTime,
            "duration" => Type::Duration,
            "int-or-string" => Type::IntOrString,
            "json" => Type::Json,
            "raw" => Type::Raw,
            "fields" => Type::Fields,
            "strings" => Type::Strings,
            "schema-or-list" => Type::SchemaOrList(id(JSON_SCHEMA)?),
            "schema-or-bool" => Type::SchemaOrBool(id(JSON_SCHEMA)?),
            "schema-or-strings" => Type::SchemaOrStrings(id(JSON_SCHEMA)?),
            name => Type::Object(id(name)?),
        })
    }
}

const JSON_SCHEMA: &str = "apiextensions.v1.JSONSchemaProps";

fn flag(field: &mut Field, word: &str) -> Result<(), String> {
    match word.split_once('=').unwrap_or((word, "")) {
        ("required", "") => field.required = true,
        ("ptr", "") => field.pointer = true,
        ("keep", "") => field.keep_zero = true,
        ("list", "atomic") => field.list = ListKind::Atomic,
        ("list", "set") => field.list = ListKind::Set,
        ("list", map) => {
            let keys = map.strip_prefix("map:").ok_or_else(|| format!("list {map:?}"))?;
            field.list = ListKind::Map(keys.split(',').map(Into::into).collect());
        }
        ("map", kind) => field.atomic = kind == "atomic",
        ("patch", patch) => {
            let (strategies, key) = patch.split_once(':').unwrap_or((patch, ""));
            let has = |wanted: &str| strategies.split(',').any(|strategy| strategy == wanted);
            field.patch = PatchStrategy {
                merge: has("merge"),
                replace: has("replace"),
                retain_keys: has("retainKeys"),
                merge_key: (!key.is_empty()).then(|| key.into()),
            };
        }
        _ => return Err(format!("unknown flag {word:?}")),
    }
    Ok(())
}
