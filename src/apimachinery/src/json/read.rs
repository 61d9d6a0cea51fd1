//! The reader: one pass over the text, guided by the schema.

use super::{DecodeError, MAX_DEPTH, Options, Validation, leaf, lex::Lexer};
use crate::{
    schema::{Field, Schema, Type, TypeId},
    value::{Key, Map, Value},
};
use std::{borrow::Cow, collections::HashSet};

pub(super) struct Reader<'t, 's> {
    lexer: Lexer<'t>,
    depth: usize,
    schema: &'s Schema,
    options: Options,
    issues: Vec<Issue>,
}

/// A field that was dropped. The path is completed while returning from it.
struct Issue {
    what: &'static str,
    path: String,
}

/// Where a value is inside the one that contains it.
#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

fn prepend(path: &mut String, step: Step<'_>) {
    *path = match step {
        Step::Index(index) => {
            format!("[{index}]{}{path}", if path.is_empty() || path.starts_with('[') { "" } else { "." })
        }
        Step::Field(name) if path.is_empty() || path.starts_with('[') => format!("{name}{path}"),
        Step::Field(name) => format!("{name}.{path}"),
    };
}

/// Free maps larger than this find duplicates by hashing.
const SMALL_MAP: usize = 24;

impl<'t, 's> Reader<'t, 's> {
    pub(super) fn new(text: &'t str, schema: &'s Schema, options: Options) -> Self {
        Self { lexer: Lexer::new(text), depth: 0, schema, options, issues: Vec::new() }
    }

    pub(super) fn into_issues(self) -> Vec<String> {
        self.issues.into_iter().map(|issue| format!("{} field \"{}\"", issue.what, issue.path)).collect()
    }

    /// The whole text as one value.
    pub(super) fn document(&mut self, of: &Type) -> Result<Value, DecodeError> {
        let value = self.value(of)?;
        match self.lexer.peek() {
            None => Ok(value),
            Some(_) => Err(self.lexer.unexpected("after top-level value")),
        }
    }

    fn value(&mut self, of: &Type) -> Result<Value, DecodeError> {
        match self.lexer.peek() {
            Some(b'{') => self.map(of),
            Some(b'[') => self.list(of),
            Some(b'"') => {
                let text = self.lexer.string()?;
                leaf::string(of, text)
            }
            Some(b'-' | b'0'..=b'9') => {
                let digits = self.lexer.number()?;
                leaf::number(of, digits)
            }
            Some(b't') => self.lexer.word("true").and_then(|()| leaf::truth(of, true)),
            Some(b'f') => self.lexer.word("false").and_then(|()| leaf::truth(of, false)),
            Some(b'n') => self.lexer.word("null").map(|()| Value::Null),
            Some(_) => Err(self.lexer.unexpected("looking for beginning of value")),
            None => Err(self.lexer.ended()),
        }
    }

    fn map(&mut self, of: &Type) -> Result<Value, DecodeError> {
        self.descend()?;
        let map = match of {
            Type::Object(id) | Type::SchemaOrBool(id) | Type::SchemaOrList(id) | Type::SchemaOrStrings(id) => {
                self.known_fields(*id)?
            }
            Type::Map(values) => self.free_fields(values)?,
            Type::Json | Type::Raw | Type::Fields => self.free_fields(&Type::Json)?,
            other => return Err(leaf::mismatch("object", other)),
        };
        self.depth -= 1;
        Ok(Value::Map(map))
    }

    fn descend(&mut self) -> Result<(), DecodeError> {
        self.lexer.skip();
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(DecodeError::TooDeep) } else { Ok(()) }
    }

    fn known_fields(&mut self, id: TypeId) -> Result<Map, DecodeError> {
        let schema = self.schema;
        let of = schema.get(id);
        let mut map = Map::new();
        let mut first = true;
        while let Some(name) = self.next_key(&mut first)? {
            let before = self.issues.len();
            if let Some(field) = of.field(&name) {
                let result = self.field(field, &mut map);
                self.leave(result, before, Step::Field(field.name()), Some(&of.name))?;
                continue;
            }
            let result = self.value(&Type::Json);
            let value = self.leave(result, before, Step::Field(&name), None)?;
            if of.preserve_unknown {
                self.put(&mut map, Key::from(&*name), value);
            } else {
                self.report("unknown", &name);
            }
        }
        Ok(map)
    }

    fn field(&mut self, field: &Field, map: &mut Map) -> Result<(), DecodeError> {
        let value = self.value(&field.of)?;
        if map.contains_key(field.name()) {
            self.report_here("duplicate");
            map.remove(field.name());
        }
        if field.keeps(&value, self.options.verbatim) {
            map.push(field.key.clone(), value);
        }
        Ok(())
    }

    fn free_fields(&mut self, of: &Type) -> Result<Map, DecodeError> {
        let mut map = Map::new();
        let mut names: Option<HashSet<Box<str>>> = None;
        let mut first = true;
        while let Some(name) = self.next_key(&mut first)? {
            let before = self.issues.len();
            let result = self.value(of).map(|value| leaf::zero_for_null(of, value));
            let value = self.leave(result, before, Step::Field(&name), None)?;
            if map.len() < SMALL_MAP {
                self.put(&mut map, Key::from(&*name), value);
                continue;
            }
            let names = names.get_or_insert_with(|| map.keys().map(Into::into).collect());
            if names.insert(name.as_ref().into()) {
                map.push(&*name, value);
            } else {
                self.put(&mut map, Key::from(&*name), value);
            }
        }
        Ok(map)
    }

    /// Puts a free field, the last of equal names winning.
    fn put(&mut self, map: &mut Map, key: Key, value: Value) {
        if map.contains_key(&key) {
            self.report("duplicate", &key);
            map.insert(key, value);
        } else {
            map.push(key, value);
        }
    }

    fn list(&mut self, of: &Type) -> Result<Value, DecodeError> {
        self.descend()?;
        let item_type = match of {
            Type::List(items) => items,
            Type::Strings | Type::SchemaOrStrings(_) => &Type::String,
            Type::SchemaOrList(id) => &Type::Object(*id),
            Type::Json | Type::Raw | Type::Fields => &Type::Json,
            other => return Err(leaf::mismatch("array", other)),
        };
        let mut list = Vec::new();
        if self.lexer.peek() == Some(b']') {
            self.lexer.skip();
        } else {
            loop {
                let before = self.issues.len();
                let result = self.value(item_type).map(|value| leaf::zero_for_null(item_type, value));
                list.push(self.leave(result, before, Step::Index(list.len()), None)?);
                match self.lexer.peek() {
                    Some(b',') => self.lexer.skip(),
                    Some(b']') => break self.lexer.skip(),
                    Some(_) => return Err(self.lexer.unexpected("after array element")),
                    None => return Err(self.lexer.ended()),
                }
            }
        }
        self.depth -= 1;
        Ok(Value::List(list))
    }

    /// The next name of a map, up to the value; nothing at its end.
    fn next_key(&mut self, first: &mut bool) -> Result<Option<Cow<'t, str>>, DecodeError> {
        let mut at = self.lexer.peek();
        if at == Some(b'}') {
            self.lexer.skip();
            return Ok(None);
        }
        if !std::mem::take(first) {
            if at != Some(b',') {
                return Err(if at.is_none() {
                    self.lexer.ended()
                } else {
                    self.lexer.unexpected("after object key:value pair")
                });
            }
            self.lexer.skip();
            at = self.lexer.peek();
        }
        match at {
            Some(b'"') => {}
            Some(_) => {
                return Err(self.lexer.unexpected("looking for beginning of object key string"));
            }
            None => return Err(self.lexer.ended()),
        }
        let name = self.lexer.string()?;
        match self.lexer.peek() {
            Some(b':') => self.lexer.skip(),
            Some(_) => return Err(self.lexer.unexpected("after object key")),
            None => return Err(self.lexer.ended()),
        }
        Ok(Some(name))
    }

    /// Completes the paths of what was found inside a value.
    fn leave<T>(
        &mut self,
        result: Result<T, DecodeError>,
        before: usize,
        step: Step<'_>,
        owner: Option<&str>,
    ) -> Result<T, DecodeError> {
        for issue in &mut self.issues[before..] {
            prepend(&mut issue.path, step);
        }
        result.map_err(|mut error| {
            if let DecodeError::Type { path, owner: of, .. } = &mut error {
                // Upstream's paths of types have no indexes.
                if let Step::Field(_) = step {
                    prepend(path, step);
                }
                if let (true, Some(owner)) = (of.is_empty(), owner) {
                    owner.rsplit('.').next().unwrap_or_default().clone_into(of);
                }
            } else if let DecodeError::Value { path, .. } = &mut error {
                prepend(path, step);
            }
            error
        })
    }

    fn report(&mut self, what: &'static str, name: &str) {
        if self.options.validation != Validation::Ignore {
            self.issues.push(Issue { what, path: name.to_owned() });
        }
    }

    /// Reports the value just read; its name is added on leaving it.
    fn report_here(&mut self, what: &'static str) {
        self.report(what, "");
    }
}
