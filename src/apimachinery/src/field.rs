//! What is wrong with a field of an object, said as upstream says it.

use crate::value::Value;
use std::fmt;

/// Where a field is: `spec.containers[0].name`, `metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A top-level field.
    pub fn new(field: impl Into<String>) -> Self {
        Self(field.into())
    }

    /// A field of the map here.
    #[must_use]
    pub fn child(&self, field: &str) -> Self {
        if self.0.is_empty() { Self(field.to_owned()) } else { Self(format!("{}.{field}", self.0)) }
    }

    /// A field some maps below.
    #[must_use]
    pub fn children(&self, fields: &[&str]) -> Self {
        fields.iter().fold(self.clone(), |path, field| path.child(field))
    }

    /// An item of the list here.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An entry of the free-form map here.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Path {
    fn from(path: &str) -> Self {
        Self(path.to_owned())
    }
}

impl From<String> for Path {
    fn from(path: String) -> Self {
        Self(path)
    }
}

impl From<&Path> for Path {
    fn from(path: &Path) -> Self {
        path.clone()
    }
}

/// The ways in which a field can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// What it refers to is not there.
    NotFound,
    /// It must be set.
    Required,
    /// It must be unique.
    Duplicate,
    /// Its value is malformed or out of range.
    Invalid,
    /// Its value is not one of those known.
    NotSupported,
    /// It may not be set here.
    Forbidden,
    /// Its text is too long.
    TooLong,
    /// It has too many items.
    TooMany,
    /// We failed, not the caller.
    Internal,
    /// Its value has the wrong type.
    TypeInvalid,
}

impl FieldErrorKind {
    /// The words in messages.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }

    /// The `reason` of a cause in a `Status`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong | Self::Internal)
    }
}

/// One thing wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Where.
    pub path: Path,
    /// In which way.
    pub kind: FieldErrorKind,
    /// The value that is wrong.
    pub value: Value,
    /// What would be right.
    pub detail: String,
}

impl FieldError {
    fn new(kind: FieldErrorKind, path: impl Into<Path>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self { path: path.into(), kind, value: value.into(), detail: detail.into() }
    }

    /// The field must be set.
    pub fn required(path: impl Into<Path>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Required, path, Value::Null, detail)
    }

    /// The value is malformed or out of range.
    pub fn invalid(path: impl Into<Path>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Invalid, path, value, detail)
    }

    /// The value has the wrong type.
    pub fn type_invalid(path: impl Into<Path>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::TypeInvalid, path, value, detail)
    }

    /// The value is none of those supported.
    pub fn not_supported<S: AsRef<str>>(path: impl Into<Path>, value: impl Into<Value>, supported: &[S]) -> Self {
        let detail = if supported.is_empty() {
            String::new()
        } else {
            let quoted: Vec<_> = supported.iter().map(|one| quote(one.as_ref())).collect();
            format!("supported values: {}", quoted.join(", "))
        };
        Self::new(FieldErrorKind::NotSupported, path, value, detail)
    }

    /// The field may not be set, or not be changed.
    pub fn forbidden(path: impl Into<Path>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, path, Value::Null, detail)
    }

    /// The value is there twice.
    pub fn duplicate(path: impl Into<Path>, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::Duplicate, path, value, "")
    }

    /// What the value refers to is not there.
    pub fn not_found(path: impl Into<Path>, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorKind::NotFound, path, value, "")
    }

    /// The text is longer than `limit` bytes.
    pub fn too_long(path: impl Into<Path>, limit: usize) -> Self {
        Self::new(FieldErrorKind::TooLong, path, Value::Null, format!("may not be more than {limit} bytes"))
    }

    /// There are more than `limit` items.
    pub fn too_many(path: impl Into<Path>, actual: usize, limit: usize) -> Self {
        let noun = if limit == 1 { "item" } else { "items" };
        Self::new(FieldErrorKind::TooMany, path, actual, format!("must have at most {limit} {noun}"))
    }

    /// We failed, not the caller.
    pub fn internal(path: impl Into<Path>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Internal, path, Value::Null, detail)
    }

    /// The message without the path, as in the causes of a `Status`.
    pub fn body(&self) -> String {
        let mut body = self.kind.text().to_owned();
        if self.kind.shows_value() {
            body.push_str(": ");
            match &self.value {
                Value::String(text) => body += &quote(text),
                other => body.push_str(&other.to_string()),
            }
        }
        if !self.detail.is_empty() {
            body = format!("{body}: {}", self.detail);
        }
        body
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.0.is_empty() { f.write_str(&self.body()) } else { write!(f, "{}: {}", self.path, self.body()) }
    }
}

impl std::error::Error for FieldError {}

/// Text in double quotes, with what is not printable escaped.
fn quote(text: &str) -> String {
    format!("{text:?}")
}

/// Many errors in one line: one as it is, several in brackets, none twice.
pub fn summary(errors: &[FieldError]) -> String {
    let mut messages: Vec<String> = Vec::with_capacity(errors.len());
    for message in errors.iter().map(ToString::to_string) {
        if !messages.contains(&message) {
            messages.push(message);
        }
    }
    match messages.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: &FieldError, expected: &str) {
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn errors_read_as_upstream_words_them() {
        let path = Path::new("spec").child("ports").index(0);
        check(&FieldError::required(path.child("name"), ""), "spec.ports[0].name: Required value");
        check(
            &FieldError::invalid(path.child("port"), 0, "must be between 1 and 65535, inclusive"),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        );
        check(
            &FieldError::not_supported("spec.type", "X", &["ClusterIP", "NodePort"]),
            r#"spec.type: Unsupported value: "X": supported values: "ClusterIP", "NodePort""#,
        );
        check(
            &FieldError::duplicate(Path::new("metadata.labels").key("a"), "b"),
            r#"metadata.labels[a]: Duplicate value: "b""#,
        );
        check(&FieldError::too_long("metadata.name", 63), "metadata.name: Too long: may not be more than 63 bytes");
        check(&FieldError::too_many("x", 3, 1), "x: Too many: 3: must have at most 1 item");
    }

    #[test]
    fn several_errors_are_one_line() {
        let errors = [FieldError::required("a", ""), FieldError::forbidden("b", "no"), FieldError::required("a", "")];
        assert_eq!(summary(&errors), "[a: Required value, b: Forbidden: no]");
        assert_eq!(summary(&errors[..1]), "a: Required value");
    }
}
