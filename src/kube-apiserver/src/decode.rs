//! Bytes from clients become objects: JSON or YAML, checked against the schema of the kind.

use apimachinery::json::{self, DecodeError, Decoded, Options, Validation};
use apimachinery::schema::TypeId;
use apimachinery::{Object, Status, protobuf, yaml};

use crate::negotiate::BODY_TYPES;
use crate::verbs::FieldValidation;

impl From<FieldValidation> for Validation {
    fn from(wish: FieldValidation) -> Self {
        match wish {
            FieldValidation::Ignore => Self::Ignore,
            FieldValidation::Warn => Self::Warn,
            FieldValidation::Strict => Self::Strict,
        }
    }
}

/// Reads a body; kind and apiVersion are filled in if absent.
///
/// # Errors
/// 415 for other media types, 400 for what cannot be read.
pub fn body(
    bytes: &[u8],
    media: &str,
    (api_version, kind): (&str, &str),
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let schema = api::schema();
    let of = schema.type_of(api_version, kind);
    let decoded = match media {
        "application/json" => json::decode(bytes, schema, of, validation.into()),
        "application/yaml" => yaml::decode(bytes, schema, of, validation.into()),
        protobuf::CONTENT_TYPE => {
            let read = protobuf::decode(bytes, schema, of);
            let object = read.map_err(|error| unreadable(&error, kind, api_version))?;
            Ok(Decoded { object, warnings: Vec::new() })
        }
        _ => return Err(Status::unsupported_media_type(BODY_TYPES)),
    };
    let mut decoded = decoded.map_err(|error| refused(&error, kind, api_version))?;
    let fields = decoded.object.as_map_mut();
    for (field, expected) in [("apiVersion", api_version), ("kind", kind)] {
        if fields.str(field).is_empty() {
            fields.insert(field, expected);
        }
    }
    Ok(decoded)
}

/// Brings an object that was patched into the form the schema gives it.
///
/// # Errors
/// 400 or 422 if it no longer fits.
pub fn conform(object: &Object, of: TypeId, validation: FieldValidation) -> Result<Decoded, Status> {
    let options = Options { validation: validation.into(), verbatim: false };
    json::conform(object, api::schema(), of, options)
        .map_err(|error| refused(&error, object.kind(), object.api_version()))
}

/// What a client is told of a body that cannot be read.
pub fn refused(error: &DecodeError, kind: &str, api_version: &str) -> Status {
    match error {
        DecodeError::Strict(_) => Status::bad_request(error.to_string()),
        _ => unreadable(error, kind, api_version),
    }
}

fn unreadable(error: &dyn std::fmt::Display, kind: &str, api_version: &str) -> Status {
    let version = api_version.rsplit('/').next().unwrap_or_default();
    Status::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {error}"))
}
