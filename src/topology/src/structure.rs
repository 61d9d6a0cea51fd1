//! Holds a document against the JSON Schema of the topology, so that one run finds every unknown field, missing field
//! and wrong type, each with its place.

use serde_json::Value as Schema;

use crate::document::{Node, Value};
use crate::error::Problem;
use crate::units::{Bytes, Cidr, PortRange};

/// Every structural problem of `document`.
pub(crate) fn check(document: &Node) -> Vec<Problem> {
    let root = crate::json_schema();
    let mut checker = Checker { root: &root, problems: Vec::new() };
    checker.node(document, &root, String::new());
    checker.problems
}

struct Checker<'a> {
    root: &'a Schema,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    fn node(&mut self, node: &Node, schema: &'a Schema, path: String) {
        let schema = self.resolve(schema);
        if let Some(choices) = choices(schema) {
            return self.choice(node, &choices, path);
        }
        if matches!(node.value, Value::Null) && allows(schema, "null") {
            return;
        }
        match &node.value {
            Value::Map(entries) if allows(schema, "object") => {
                self.map(node, entries, schema, &path);
            }
            Value::List(items) if allows(schema, "array") => self.list(node, items, schema, &path),
            Value::String(text) if allows(schema, "string") => {
                self.string(node, text, schema, path);
            }
            Value::Integer(number) if allows(schema, "integer") || allows(schema, "number") => {
                self.integer(node, *number, schema, path);
            }
            Value::Bool if allows(schema, "boolean") => {}
            _ => {
                let wanted = wanted(schema);
                self.report(node, path, format!("must be {wanted}, not {}", node.type_name()));
            }
        }
    }

    /// Follows `$ref`, and the one member of an `anyOf` that is not null.
    fn resolve(&self, mut schema: &'a Schema) -> &'a Schema {
        loop {
            if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/")) {
                schema = &self.root["$defs"][name];
            } else if let Some(present) =
                schema["anyOf"].as_array().and_then(|any| any.iter().find(|s| s["type"] != "null"))
            {
                schema = present;
            } else {
                return schema;
            }
        }
    }

    fn map(&mut self, node: &Node, entries: &[(Node, Node)], schema: &'a Schema, path: &str) {
        let fields = schema["properties"].as_object();
        for (key, value) in entries {
            let Some(name) = key.as_str() else {
                self.report(key, path.to_owned(), format!("has a key that is {}; keys are strings", key.type_name()));
                continue;
            };
            let field = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            match fields.and_then(|fields| fields.get(name)) {
                // An empty value (`spec:` and nothing after it) means the default, as in Kubernetes.
                Some(_) if matches!(value.value, Value::Null) && !required(schema, name) => {}
                Some(sub) => self.node(value, sub, field),
                None if schema["additionalProperties"].is_object() => {
                    self.node(value, &schema["additionalProperties"], field);
                }
                None => self.report(key, field, unknown(name, fields.into_iter().flat_map(|fields| fields.keys()))),
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Schema::as_str) {
            if node.get(name).is_none() {
                let field = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                self.report(node, field, "is required".to_owned());
            }
        }
    }

    fn list(&mut self, node: &Node, items: &[Node], schema: &'a Schema, path: &str) {
        if (items.len() as u64) < schema["minItems"].as_u64().unwrap_or(0) {
            self.report(node, path.to_owned(), "must not be empty".to_owned());
        }
        for (index, item) in items.iter().enumerate() {
            self.node(item, &schema["items"], format!("{path}[{index}]"));
        }
    }

    fn string(&mut self, node: &Node, text: &str, schema: &Schema, path: String) {
        let problem = match schema["format"].as_str() {
            Some("size") => text.parse::<Bytes>().err().map(|error| error.to_string()),
            Some("cidr") => text.parse::<Cidr>().err().map(|error| error.to_string()),
            Some("port-range") => text.parse::<PortRange>().err().map(|error| error.to_string()),
            Some("ip") => text.parse::<std::net::IpAddr>().err().map(|_| format!("{text:?} is not an IP address")),
            _ => None,
        };
        if let Some(message) = problem {
            self.report(node, path, message);
        }
    }

    fn integer(&mut self, node: &Node, number: i128, schema: &Schema, path: String) {
        let least = schema["minimum"].as_i64().unwrap_or(i64::MIN);
        let most = schema["maximum"].as_i64().unwrap_or(i64::MAX);
        if number < i128::from(least) || number > i128::from(most) {
            self.report(node, path, format!("must be between {least} and {most}, not {number}"));
        }
    }

    fn choice(&mut self, node: &Node, choices: &[&str], path: String) {
        match &node.value {
            Value::String(text) if choices.contains(&text.as_str()) => {}
            Value::String(text) => {
                self.report(node, path, format!("{text:?} is not one of: {}", choices.join(", ")));
            }
            _ => self.report(node, path, format!("must be one of: {}, not {}", choices.join(", "), node.type_name())),
        }
    }

    fn report(&mut self, node: &Node, path: String, message: String) {
        self.problems.push(Problem { line: node.line, column: node.column, path, message });
    }
}

fn required(schema: &Schema, name: &str) -> bool {
    schema["required"].as_array().is_some_and(|required| required.iter().any(|field| field == name))
}

fn allows(schema: &Schema, wanted: &str) -> bool {
    match &schema["type"] {
        Schema::String(name) => name == wanted,
        Schema::Array(names) => names.iter().any(|name| name == wanted),
        _ => true,
    }
}

/// The values of an enumeration, whether written as `enum` or as documented `const`s.
fn choices(schema: &Schema) -> Option<Vec<&str>> {
    if let Some(values) = schema["enum"].as_array() {
        return Some(values.iter().filter_map(Schema::as_str).collect());
    }
    let one_of = schema["oneOf"].as_array()?;
    let mut choices = Vec::new();
    for variant in one_of {
        match variant["enum"].as_array() {
            Some(values) => choices.extend(values.iter().filter_map(Schema::as_str)),
            None => choices.push(variant["const"].as_str()?),
        }
    }
    Some(choices)
}

fn wanted(schema: &Schema) -> &'static str {
    match (schema["format"].as_str(), schema["type"].as_str().or_else(|| schema["type"][0].as_str())) {
        (Some("size"), _) => "a size such as 2Gi",
        (Some("cidr"), _) => "a network such as 10.244.0.0/16",
        (Some("ip"), _) => "an IP address",
        (_, Some("object")) => "a map",
        (_, Some("array")) => "a list",
        (_, Some("integer")) => "an integer",
        (_, Some("boolean")) => "a boolean",
        _ => "a string",
    }
}

fn unknown<'s>(name: &str, known: impl Iterator<Item = &'s String>) -> String {
    let known: Vec<&String> = known.collect();
    let close = known.iter().map(|other| (distance(name, other), other)).min();
    match close {
        Some((distance, other)) if distance <= 2.max(name.len() / 3) => {
            format!("unknown field; did you mean {other}?")
        }
        _ => {
            let mut names: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
            names.sort_unstable();
            format!("unknown field; known here: {}", names.join(", "))
        }
    }
}

/// Levenshtein distance, for "did you mean".
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
