//! Persistent volumes and their claims.

use crate::check::{self, Errors};
use crate::fill::{fill, fill_text, part, spec};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::object::Object;
use apimachinery::value;
use apimachinery::value::{Map, Value};

const MODES: [&str; 4] = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"];

pub(super) const VOLUME: Strategy = Strategy {
    default: |volume| {
        let spec = spec(volume);
        fill_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        fill(spec, "volumeMode", "Filesystem");
        if let Some(path) = part(spec, "hostPath") {
            fill(path, "type", "");
        }
    },
    prepare_create: |volume| volume.set_at(&["status"], value!({"phase": "Pending"})),
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate: validate_volume,
    validate_update: |new, old| {
        let mut errors = Errors::new();
        let path = Path::new("spec.volumeMode");
        let mode = ["spec", "volumeMode"];
        check::unchanged(&mut errors, &path, new.at(&mode), old.at(&mode));
        errors
    },
    ..NOOP
};

pub(super) const VOLUME_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Capacity", |volume, _| Value::from(volume.str_at(&["spec", "capacity", "storage"]))),
    Column::new("Access Modes", |volume, _| Value::from(print::access_modes(volume.list_at(&["spec", "accessModes"])))),
    Column::new("Reclaim Policy", |volume, _| Value::from(volume.str_at(&["spec", "persistentVolumeReclaimPolicy"]))),
    Column::new("Status", phase),
    Column::new("Claim", |volume, _| {
        let claim = volume.map_at(&["spec", "claimRef"]);
        let both = format!("{}/{}", claim.str("namespace"), claim.str("name"));
        Value::from(if claim.is_empty() { String::new() } else { both })
    }),
    Column::new("StorageClass", |volume, _| Value::from(class(volume))),
    Column::new("VolumeAttributesClass", |volume, _| attributes_class(volume)),
    Column::new("Reason", |volume, _| Value::from(volume.str_at(&["status", "reason"]))),
    AGE,
    Column::new("VolumeMode", |volume, _| volume_mode(volume)).wide(),
];

pub(super) const CLAIM: Strategy = Strategy {
    default: |claim| fill(spec(claim), "volumeMode", "Filesystem"),
    prepare_create: |claim| claim.set_at(&["status"], value!({"phase": "Pending"})),
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate: |claim| {
        let mut errors = Errors::new();
        check_claim(&mut errors, &Path::new("spec"), claim.map_at(&["spec"]));
        errors
    },
    validate_update: validate_claim_update,
    ..NOOP
};

pub(super) const CLAIM_COLUMNS: &[Column] = &[
    NAME,
    Column::new("Status", phase),
    Column::new("Volume", |claim, _| Value::from(claim.str_at(&["spec", "volumeName"]))),
    Column::new("Capacity", |claim, _| {
        when_bound(claim, |claim| claim.str_at(&["status", "capacity", "storage"]).to_owned())
    }),
    Column::new("Access Modes", |claim, _| {
        when_bound(claim, |claim| print::access_modes(claim.list_at(&["status", "accessModes"])))
    }),
    Column::new("StorageClass", |claim, _| Value::from(class(claim))),
    Column::new("VolumeAttributesClass", |claim, _| attributes_class(claim)),
    AGE,
    Column::new("VolumeMode", |claim, _| volume_mode(claim)).wide(),
];

fn phase(object: &Object, _: jiff::Timestamp) -> Value {
    Value::from(match object.deletion_timestamp() {
        Some(_) => "Terminating",
        None => object.str_at(&["status", "phase"]),
    })
}

fn when_bound(claim: &Object, text: fn(&Object) -> String) -> Value {
    let bound = !claim.str_at(&["spec", "volumeName"]).is_empty();
    Value::from(if bound { text(claim) } else { String::new() })
}

fn class(object: &Object) -> &str {
    let old = object.annotation("volume.beta.kubernetes.io/storage-class").unwrap_or_default();
    print::or(old, object.str_at(&["spec", "storageClassName"]))
}

fn attributes_class(object: &Object) -> Value {
    Value::from(print::or(object.str_at(&["spec", "volumeAttributesClassName"]), print::UNSET))
}

fn volume_mode(object: &Object) -> Value {
    Value::from(print::or(object.str_at(&["spec", "volumeMode"]), print::UNSET))
}

fn validate_volume(volume: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = volume.map_at(&["spec"]);
    check_modes(&mut errors, &path, spec);
    if check::part(spec, "capacity").is_empty() {
        errors.push(FieldError::required(path.child("capacity"), ""));
    }
    let policy = spec.str("persistentVolumeReclaimPolicy");
    let known = ["Delete", "Recycle", "Retain"];
    check::one_of(&mut errors, &path.child("persistentVolumeReclaimPolicy"), policy, &known);
    errors
}

/// Checks the specification of a claim, also in the template of a stateful set.
pub(crate) fn check_claim(errors: &mut Errors, path: &Path, spec: &Map) {
    check_modes(errors, path, spec);
    let requests = check::part(check::part(spec, "resources"), "requests");
    if !requests.contains_key("storage") {
        let path = path.child("resources").key("storage");
        errors.push(FieldError::required(path, ""));
    }
}

fn check_modes(errors: &mut Errors, path: &Path, spec: &Map) {
    let modes = check::list(spec, "accessModes");
    if modes.is_empty() {
        errors.push(FieldError::required(path.child("accessModes"), "at least 1 access mode is required"));
    }
    for mode in modes.iter().filter_map(Value::as_str) {
        check::one_of(errors, &path.child("accessModes"), mode, &MODES);
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode.as_str() == Some("ReadWriteOncePod")) {
        let wrong = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(path.child("accessModes"), wrong));
    }
    let mode = spec.str("volumeMode");
    check::optional_one_of(errors, &path.child("volumeMode"), mode, &["Block", "Filesystem"]);
}

fn validate_claim_update(new: &Object, old: &Object) -> Errors {
    let frozen = |claim: &Object| {
        let mut spec = claim.map_at(&["spec"]).clone();
        if old.str_at(&["spec", "volumeName"]).is_empty() {
            spec.remove("volumeName");
        }
        spec.remove("resources");
        spec.remove("volumeAttributesClassName");
        spec
    };
    let mut errors = Errors::new();
    if frozen(new) != frozen(old) {
        let wrong = "spec is immutable after creation except resources.requests and \
            volumeAttributesClassName for bound claims";
        errors.push(FieldError::forbidden("spec", wrong));
    }
    errors
}
