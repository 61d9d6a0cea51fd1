//! Config maps, secrets and service accounts.

use crate::check::{self, Errors};
use crate::fill::fill_text;
use crate::print::{AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The most bytes a config map or secret may hold.
const LIMIT: usize = 1 << 20;

pub(super) const CONFIG_MAP: Strategy = Strategy {
    validate: |object| {
        let mut errors = Errors::new();
        let binary = object.map_at(&["binaryData"]);
        let mut size = check_keys(&mut errors, "data", object.map_at(&["data"]));
        size += check_keys(&mut errors, "binaryData", binary);
        for (key, _) in object.map_at(&["data"]).strings() {
            if binary.contains_key(key) {
                let wrong = "duplicate of key present in binaryData";
                errors.push(FieldError::invalid(Path::new("data").key(key), key, wrong));
            }
        }
        if size > LIMIT {
            errors.push(FieldError::too_long("", LIMIT));
        }
        errors
    },
    validate_update: frozen,
    ..NOOP
};

pub(super) const CONFIG_MAP_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Data", |object, _| {
        let count = object.map_at(&["data"]).len() + object.map_at(&["binaryData"]).len();
        Value::from(count)
    }),
    AGE,
];

pub(super) const SECRET: Strategy = Strategy {
    default: |secret| fill_text(secret.as_map_mut(), "type", "Opaque"),
    prepare_create: encode_strings,
    prepare_update: |new, _| encode_strings(new),
    validate: validate_secret,
    validate_update: |new, old| {
        let mut errors = frozen(new, old);
        check::unchanged(&mut errors, &Path::new("type"), new.get("type"), old.get("type"));
        errors
    },
    ..NOOP
};

pub(super) const SECRET_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Type", |secret, _| Value::from(secret.str_at(&["type"]))),
    Column::new("Data", |secret, _| Value::from(secret.map_at(&["data"]).len())),
    AGE,
];

/// `stringData` is for writing only: it ends up in `data`.
fn encode_strings(secret: &mut Object) {
    if let Some(Value::Map(strings)) = secret.remove_at(&["stringData"]) {
        let data = secret.as_map_mut().entry("data").make_map();
        for (key, text) in strings.strings() {
            data.insert(key, STANDARD.encode(text));
        }
    }
}

fn validate_secret(secret: &Object) -> Errors {
    let mut errors = Errors::new();
    let data = secret.map_at(&["data"]);
    if check_keys(&mut errors, "data", data) > LIMIT * 4 / 3 + 4 {
        errors.push(FieldError::too_long("data", LIMIT));
    }
    let path = Path::new("data");
    let needed: &[&str] = match secret.str_at(&["type"]) {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if secret.annotation(key).unwrap_or_default().is_empty() {
                errors.push(FieldError::required(Path::new("metadata.annotations").key(key), ""));
            }
            &[]
        }
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    if secret.str_at(&["type"]) == "kubernetes.io/basic-auth"
        && !["username", "password"].iter().any(|key| data.contains_key(key))
    {
        for key in ["username", "password"] {
            errors.push(FieldError::required(path.key(key), ""));
        }
    }
    for key in needed.iter().filter(|key| key.starts_with(".docker")) {
        let bytes = data.get(key).and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok());
        if bytes.is_some_and(|bytes| serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_err()) {
            errors.push(FieldError::invalid(path.key(key), "<secret contents redacted>", "must be JSON"));
        }
    }
    for key in needed {
        if !data.contains_key(key) {
            errors.push(FieldError::required(path.key(key), ""));
        }
    }
    errors
}

/// Checks the keys and returns how many bytes the values have.
fn check_keys(errors: &mut Errors, field: &str, data: &Map) -> usize {
    let path = Path::new(field);
    let mut size = 0;
    for (key, value) in data.strings() {
        check::named(errors, &path.key(key), key, names::config_map_key);
        size += value.len();
    }
    size
}

/// What was made immutable stays as it is.
fn frozen(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    if old.bool_at(&["immutable"]) {
        let wrong = "field is immutable when `immutable` is set";
        if !new.bool_at(&["immutable"]) {
            errors.push(FieldError::forbidden("immutable", wrong));
        }
        for key in ["data", "binaryData"] {
            if new.map_at(&[key]) != old.map_at(&[key]) {
                errors.push(FieldError::forbidden(key, wrong));
            }
        }
    }
    errors
}

pub(super) const SERVICE_ACCOUNT_COLUMNS: &[Column] =
    &[NAME, Column::new("Secrets", |account, _| Value::from(account.list_at(&["secrets"]).len())), AGE];
