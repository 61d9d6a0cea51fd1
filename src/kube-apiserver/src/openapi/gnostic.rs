//! The protobuf form of OpenAPI 2 that clients of all ages ask for, written from the JSON tree.
//!
//! Field numbers are those of `OpenAPIv2.proto`. Only what this server's documents contain is written.

use serde_json::Value;

use super::Tree;

/// A document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, document["swagger"].as_str());
    out.message(2, |info| {
        info.text(1, document["info"]["title"].as_str());
        info.text(2, document["info"]["version"].as_str());
    });
    out.message(8, |paths| {
        for (path, item) in fields(&document["paths"]) {
            paths.message(2, |named| {
                named.text(1, Some(path));
                named.message(2, |out| path_item(out, item));
            });
        }
    });
    out.message(9, |definitions| named_schemas(definitions, &document["definitions"]));
    out.0
}

/// A protobuf message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
            number >>= 7;
        }
        self.0.push(u8::try_from(number).expect("seven bits"));
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.bytes(field, text.as_bytes());
        }
    }

    fn texts(&mut self, field: u64, list: &Value) {
        for text in list.as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.bytes(field, text.as_bytes());
        }
    }

    fn flag(&mut self, field: u64, value: &Value) {
        if value.as_bool() == Some(true) {
            self.varint(field << 3);
            self.varint(1);
        }
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// The `x-` entries of an object. JSON is YAML.
    fn extensions(&mut self, field: u64, value: &Value) {
        for (name, value) in fields(value).filter(|(name, _)| name.starts_with("x-")) {
            self.message(field, |named| {
                named.text(1, Some(name));
                named.message(2, |any| any.text(2, Some(&value.to_string())));
            });
        }
    }
}

fn fields(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Tree::iter).map(|(name, value)| (name.as_str(), value))
}

fn named_schemas(out: &mut Message, schemas: &Value) {
    for (name, value) in fields(schemas) {
        out.message(1, |named| {
            named.text(1, Some(name));
            named.message(2, |out| schema(out, value));
        });
    }
}

fn schema(out: &mut Message, value: &Value) {
    out.text(1, value["$ref"].as_str());
    out.text(2, value["format"].as_str());
    out.text(4, value["description"].as_str());
    out.texts(19, &value["required"]);
    if value["additionalProperties"].is_object() {
        out.message(21, |item| item.message(1, |out| schema(out, &value["additionalProperties"])));
    }
    if let Some(kind) = value["type"].as_str() {
        out.message(22, |item| item.text(1, Some(kind)));
    }
    if value["items"].is_object() {
        out.message(23, |item| item.message(1, |out| schema(out, &value["items"])));
    }
    if value["properties"].is_object() {
        out.message(25, |properties| named_schemas(properties, &value["properties"]));
    }
    out.extensions(31, value);
}

fn path_item(out: &mut Message, item: &Value) {
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if item[method].is_object() {
            out.message(field, |out| operation(out, &item[method]));
        }
    }
    parameters(out, 9, &item["parameters"]);
}

fn operation(out: &mut Message, value: &Value) {
    out.text(5, value["operationId"].as_str());
    out.texts(6, &value["produces"]);
    out.texts(7, &value["consumes"]);
    parameters(out, 8, &value["parameters"]);
    out.message(9, |responses| {
        for (code, answer) in fields(&value["responses"]) {
            responses.message(1, |named| {
                named.text(1, Some(code));
                named.message(2, |choice| choice.message(1, |out| response(out, answer)));
            });
        }
    });
    out.extensions(13, value);
}

fn response(out: &mut Message, value: &Value) {
    out.text(1, value["description"].as_str());
    if value["schema"].is_object() {
        out.message(2, |item| item.message(1, |out| schema(out, &value["schema"])));
    }
}

fn parameters(out: &mut Message, field: u64, list: &Value) {
    for value in list.as_array().into_iter().flatten() {
        out.message(field, |item| item.message(1, |out| parameter(out, value)));
    }
}

fn parameter(out: &mut Message, value: &Value) {
    match value["in"].as_str() {
        Some("body") => out.message(1, |body| {
            body.text(2, value["name"].as_str());
            body.text(3, Some("body"));
            body.flag(4, &value["required"]);
            body.message(5, |out| schema(out, &value["schema"]));
        }),
        Some("path") => out.message(2, |choice| choice.message(4, |out| simple_parameter(out, value, [4, 5, 19]))),
        _ => out.message(2, |choice| choice.message(3, |out| simple_parameter(out, value, [4, 6, 20]))),
    }
}

/// A path or query parameter; the numbers of name, type and uniqueness differ between them.
fn simple_parameter(out: &mut Message, value: &Value, [name, kind, unique]: [u64; 3]) {
    out.flag(1, &value["required"]);
    out.text(2, value["in"].as_str());
    out.text(3, value["description"].as_str());
    out.text(name, value["name"].as_str());
    out.text(kind, value["type"].as_str());
    out.flag(unique, &value["uniqueItems"]);
}
