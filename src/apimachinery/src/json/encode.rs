//! The writer.

use crate::{
    object::Object,
    value::{Map, Value},
};
use std::io::Write;

/// The value as compact JSON.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    write_value(&mut out, value);
    out
}

/// The object as compact JSON.
pub fn encode_object(object: &Object) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    write_map(&mut out, object.as_map());
    out
}

/// The object as compact JSON, with another `metadata.resourceVersion`. 0 leaves the field out.
pub fn encode_with_revision(object: &Object, revision: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.push(b'{');
    let mut first = true;
    for (key, value) in object.as_map().iter() {
        comma(&mut out, &mut first);
        write_key(&mut out, key);
        match value {
            Value::Map(metadata) if key.as_str() == "metadata" => {
                write_metadata(&mut out, metadata, revision);
            }
            other => write_value(&mut out, other),
        }
    }
    if revision != 0 && !object.as_map().contains_key("metadata") {
        comma(&mut out, &mut first);
        write_key(&mut out, "metadata");
        write_metadata(&mut out, &Map::new(), revision);
    }
    out.push(b'}');
    out
}

fn write_metadata(out: &mut Vec<u8>, metadata: &Map, revision: i64) {
    out.push(b'{');
    let mut first = true;
    if revision != 0 {
        first = false;
        write_revision(out, revision);
    }
    for (key, value) in metadata.iter().filter(|(key, _)| key.as_str() != "resourceVersion") {
        comma(out, &mut first);
        write_key(out, key);
        write_value(out, value);
    }
    out.push(b'}');
}

fn write_revision(out: &mut Vec<u8>, revision: i64) {
    write!(out, "\"resourceVersion\":\"{revision}\"").expect("writing to memory cannot fail");
}

/// Puts a `metadata.resourceVersion` into JSON written by [`encode_with_revision`] with revision 0, without reading it all.
/// Nothing is returned if the text has no `metadata` map.
pub fn inject_revision(json: &[u8], revision: i64) -> Option<Vec<u8>> {
    let inside = find_metadata(json)?;
    let mut out = Vec::with_capacity(json.len() + 48);
    out.extend_from_slice(&json[..inside]);
    write_revision(&mut out, revision);
    if json.get(inside) != Some(&b'}') {
        out.push(b',');
    }
    out.extend_from_slice(&json[inside..]);
    Some(out)
}

/// The place just inside the map in the top-level field `metadata` of compact JSON.
fn find_metadata(json: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < json.len() {
        match json[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b'"' => {
                let rest = &json[at..];
                if depth == 1 && rest.starts_with(b"\"metadata\":{") && matches!(json[at - 1], b'{' | b',') {
                    return Some(at + b"\"metadata\":{".len());
                }
                at += string_length(rest)?;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The length of the string literal at the start, with its quotes.
fn string_length(json: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn comma(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(number) => write!(out, "{number}").expect("writing to memory cannot fail"),
        Value::Float(number) => write_float(out, *number),
        Value::String(text) => write_string(out, text),
        Value::List(list) => {
            out.push(b'[');
            let mut first = true;
            for item in list {
                comma(out, &mut first);
                write_value(out, item);
            }
            out.push(b']');
        }
        Value::Map(map) => write_map(out, map),
    }
}

fn write_map(out: &mut Vec<u8>, map: &Map) {
    out.push(b'{');
    let mut first = true;
    for (key, value) in map.iter() {
        comma(out, &mut first);
        write_key(out, key);
        write_value(out, value);
    }
    out.push(b'}');
}

/// As Go does: whole numbers without a point, no infinities.
fn write_float(out: &mut Vec<u8>, number: f64) {
    let written = if !number.is_finite() {
        out.extend_from_slice(b"null");
        Ok(())
    } else if number.fract() == 0.0 && number.abs() < 1e21 {
        write!(out, "{number:.0}")
    } else if number.abs() >= 1e21 || number.abs() < 1e-6 {
        write!(out, "{number:e}")
    } else {
        write!(out, "{number}")
    };
    written.expect("writing to memory cannot fail");
}

fn write_key(out: &mut Vec<u8>, key: &str) {
    write_string(out, key);
    out.push(b':');
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[copied..at]);
        out.extend_from_slice(escape);
        if escape.is_empty() {
            write!(out, "\\u{byte:04x}").expect("writing to memory cannot fail");
        }
        copied = at + 1;
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}
