//! Persistent volumes and their claims.

mod rules;

pub(crate) use rules::check_claim;

use crate::check::Errors;
use crate::fill::{fill, fill_text, part, spec};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::field::Path;
use apimachinery::object::Object;
use apimachinery::value;
use apimachinery::value::Value;

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
    validate: rules::validate_volume,
    validate_update: rules::validate_volume_update,
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
        rules::check_claim(&mut errors, &Path::new("spec"), claim.map_at(&["spec"]));
        errors
    },
    validate_update: rules::validate_claim_update,
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
