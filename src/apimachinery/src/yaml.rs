//! YAML in. It becomes JSON first, so that both are read by the same rules.

use crate::{
    json::{self, DecodeError, Decoded, Options, Validation},
    schema::{Schema, TypeId},
    value::Value,
};
use serde_saphyr::DuplicateKeyPolicy;

/// Reads an object from the first YAML document, by the rules of [`json::decode`].
pub fn decode(
    bytes: &[u8],
    schema: &Schema,
    of: Option<TypeId>,
    validation: Validation,
) -> Result<Decoded, DecodeError> {
    decode_with(bytes, schema, of, Options { validation, verbatim: false })
}

/// Reads an object from YAML, with all choices.
pub fn decode_with(
    bytes: &[u8],
    schema: &Schema,
    of: Option<TypeId>,
    options: Options,
) -> Result<Decoded, DecodeError> {
    let strict = decode_value(bytes, DuplicateKeyPolicy::Error);
    let (value, duplicate) = match strict {
        Ok(value) => (value, None),
        Err(error) => (decode_value(bytes, DuplicateKeyPolicy::LastWins)?, Some(error.to_string())),
    };
    let mut decoded = json::decode_with(&json::encode(&value), schema, of, options)?;
    match (duplicate, options.validation) {
        (Some(duplicate), Validation::Strict) => Err(DecodeError::Strict(vec![duplicate])),
        (Some(duplicate), Validation::Warn) => {
            decoded.warnings.insert(0, duplicate);
            Ok(decoded)
        }
        _ => Ok(decoded),
    }
}

fn decode_value(bytes: &[u8], duplicates: DuplicateKeyPolicy) -> Result<Value, DecodeError> {
    let text = String::from_utf8_lossy(bytes);
    let options = serde_saphyr::options! { duplicate_keys: duplicates };
    serde_saphyr::from_str_with_options(&text, options)
        .map_err(|error| DecodeError::Syntax(format!("error converting YAML to JSON: yaml: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        schema::tests::{schema, type_of},
        value,
    };

    fn read(text: &str, validation: Validation) -> Result<Decoded, DecodeError> {
        decode(text.as_bytes(), schema(), Some(type_of("v1", "ConfigMap")), validation)
    }

    #[test]
    fn yaml_is_read_by_the_rules_of_json() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: {}\ndata:\n  x: |\n    line\n  n: '5'\nwrong: 1\n";
        let decoded = read(text, Validation::Warn).unwrap();
        let expected = value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "line\n", "n": "5"}});
        assert_eq!(decoded.object.into_value(), expected);
        assert_eq!(decoded.warnings, [r#"unknown field "wrong""#]);
    }

    #[test]
    fn duplicates_are_found() {
        let text = "data:\n  a: x\n  a: z\n";
        let strict = read(text, Validation::Strict);
        assert!(matches!(strict, Err(DecodeError::Strict(_))), "{strict:?}");
        let decoded = read(text, Validation::Warn).unwrap();
        assert_eq!(decoded.object.str_at(&["data", "a"]), "z");
        assert_eq!(decoded.warnings.len(), 1);
        assert!(read(text, Validation::Ignore).unwrap().warnings.is_empty());
    }

    #[test]
    fn bombs_and_garbage_are_errors() {
        let deep = "[".repeat(5000);
        for text in ["a: [", "\t", "- 1", "a: 1\n---\nb: 2\n", &deep] {
            assert!(read(text, Validation::Warn).is_err(), "{text:.20}");
        }
    }
}
