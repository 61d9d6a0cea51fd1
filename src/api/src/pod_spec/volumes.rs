//! The rules for volumes: unique names, exactly one source, sources that are whole.

use super::sources;
use crate::check::{self, Errors};
use crate::groups::check_claim;
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
    sources::check_source(errors, path, kind, source);
    match kind {
        "secret" | "configMap" => check_items(errors, path, source),
        "downwardAPI" => check_downward(errors, path, source),
        "projected" => {
            for (index, projection) in check::maps(source, "sources") {
                check_projection(errors, &path.child("sources").index(index), projection);
            }
        }
        "ephemeral" => {
            let template = path.child("volumeClaimTemplate");
            match source.get("volumeClaimTemplate").and_then(Value::as_map) {
                Some(claim) => check_claim(errors, &template.child("spec"), check::part(claim, "spec")),
                None => errors.push(FieldError::required(template, "")),
            }
        }
        "image" => {
            let policies = ["Always", "IfNotPresent", "Never"];
            check::optional_one_of(errors, &path.child("pullPolicy"), source.str("pullPolicy"), &policies);
        }
        _ => {}
    }
    if let Some(mode) = check::number(source, "defaultMode") {
        check_mode(errors, &path.child("defaultMode"), mode);
    }
}

/// Files with what a pod knows of itself.
fn check_downward(errors: &mut Errors, path: &Path, source: &Map) {
    for (index, item) in check::maps(source, "items") {
        let path = path.child("items").index(index);
        check::required(errors, &path.child("path"), item.str("path"));
        check::inner_path(errors, &path.child("path"), item.str("path"));
        match (check::set(item, "fieldRef"), check::set(item, "resourceFieldRef")) {
            (true, true) => {
                let wrong = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(&path, "resource", wrong));
            }
            (false, false) => {
                errors.push(FieldError::required(&path, "one of fieldRef and resourceFieldRef is required"));
            }
            _ => {}
        }
        if let Some(mode) = check::number(item, "mode") {
            check_mode(errors, &path.child("mode"), mode);
        }
    }
}

fn check_projection(errors: &mut Errors, path: &Path, projection: &Map) {
    if projection.values().filter(|value| !value.is_null()).count() > 1 {
        errors.push(FieldError::forbidden(path, "may not specify more than 1 volume type"));
    }
    if let Some(downward) = projection.get("downwardAPI").and_then(Value::as_map) {
        check_downward(errors, &path.child("downwardAPI"), downward);
    }
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
        if seconds > 1 << 32 {
            let wrong = "may not specify a duration larger than 2^32 seconds";
            errors.push(FieldError::invalid(path.child("expirationSeconds"), seconds, wrong));
        }
        check::required(errors, &path.child("path"), token.str("path"));
        check::inner_path(errors, &path.child("path"), token.str("path"));
    }
}

fn check_items(errors: &mut Errors, path: &Path, source: &Map) {
    for (index, item) in check::maps(source, "items") {
        let path = path.child("items").index(index);
        check::required(errors, &path.child("key"), item.str("key"));
        let place = item.str("path");
        check::required(errors, &path.child("path"), place);
        check::inner_path(errors, &path.child("path"), place);
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
