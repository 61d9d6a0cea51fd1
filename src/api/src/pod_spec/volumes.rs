//! The rules for volumes: unique names, exactly one source, sources that are whole.

use crate::check::{self, Errors};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::value::{Map, Value};
use std::collections::HashSet;

/// Checks the volumes and returns their names.
pub(super) fn check_volumes(errors: &mut Errors, path: &Path, spec: &Map) -> HashSet<String> {
    let mut seen = HashSet::new();
    for (index, volume) in check::maps(spec, "volumes") {
        let path = path.index(index);
        let name = volume.str("name");
        check::required_named(errors, &path.child("name"), name, names::dns1123_label);
        if !seen.insert(name.to_owned()) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        check_source(errors, &path, volume);
    }
    seen
}

fn check_source(errors: &mut Errors, path: &Path, volume: &Map) {
    let mut sources = 0;
    for (kind, source) in volume.iter().filter(|(key, value)| &***key != "name" && !value.is_null()) {
        let path = path.child(kind);
        sources += 1;
        if sources > 1 {
            errors.push(FieldError::forbidden(path, "may not specify more than 1 volume type"));
            continue;
        }
        if let Some(source) = source.as_map() {
            check_one(errors, &path, kind, source);
        }
    }
    if sources == 0 {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

fn check_one(errors: &mut Errors, path: &Path, kind: &str, source: &Map) {
    let required: &[&str] = match kind {
        "secret" => &["secretName"],
        "configMap" => &["name"],
        "persistentVolumeClaim" => &["claimName"],
        "hostPath" => &["path"],
        "nfs" => &["server", "path"],
        "csi" => &["driver"],
        _ => &[],
    };
    for key in required {
        check::required(errors, &path.child(key), source.str(key));
    }
    match kind {
        "hostPath" => {
            let known =
                ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
            check::optional_one_of(errors, &path.child("type"), source.str("type"), &known);
            if source.str("path").split('/').any(|step| step == "..") {
                errors.push(FieldError::invalid(path.child("path"), source.str("path"), "must not contain '..'"));
            }
        }
        "secret" | "configMap" => check_items(errors, path, source),
        "projected" => {
            for (index, projection) in check::maps(source, "sources") {
                check_projection(errors, &path.child("sources").index(index), projection);
            }
        }
        _ => {}
    }
    if let Some(mode) = check::number(source, "defaultMode") {
        check_mode(errors, &path.child("defaultMode"), mode);
    }
}

fn check_projection(errors: &mut Errors, path: &Path, projection: &Map) {
    for kind in ["secret", "configMap"] {
        if let Some(source) = projection.get(kind).and_then(Value::as_map) {
            check::required(errors, &path.child(kind).child("name"), source.str("name"));
            check_items(errors, &path.child(kind), source);
        }
    }
    if let Some(token) = projection.get("serviceAccountToken").and_then(Value::as_map) {
        let path = path.child("serviceAccountToken");
        let seconds = check::number(token, "expirationSeconds").unwrap_or(3600);
        if seconds < 600 {
            let wrong = "may not specify a duration less than 10 minutes";
            errors.push(FieldError::invalid(path.child("expirationSeconds"), seconds, wrong));
        }
        check::required(errors, &path.child("path"), token.str("path"));
    }
}

fn check_items(errors: &mut Errors, path: &Path, source: &Map) {
    for (index, item) in check::maps(source, "items") {
        let path = path.child("items").index(index);
        check::required(errors, &path.child("key"), item.str("key"));
        let place = item.str("path");
        check::required(errors, &path.child("path"), place);
        if place.starts_with('/') {
            errors.push(FieldError::invalid(path.child("path"), place, "must be a relative path"));
        } else if place.split('/').any(|step| step == "..") {
            errors.push(FieldError::invalid(path.child("path"), place, "must not contain '..'"));
        }
        if let Some(mode) = check::number(item, "mode") {
            check_mode(errors, &path.child("mode"), mode);
        }
    }
}

fn check_mode(errors: &mut Errors, path: &Path, mode: i64) {
    if !(0..=0o777).contains(&mode) {
        let wrong = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(path, mode, wrong));
    }
}
