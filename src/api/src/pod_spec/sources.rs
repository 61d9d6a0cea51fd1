//! The rules for single sources of volumes, which pods and persistent volumes share.

use crate::check::{self, Errors};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::value::{Map, Value};

/// What each source must say.
const REQUIRED: &[(&str, &[&str])] = &[
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cephfs", &["monitors"]),
    ("cinder", &["volumeID"]),
    ("configMap", &["name"]),
    ("csi", &["driver"]),
    ("flexVolume", &["driver"]),
    ("gcePersistentDisk", &["pdName"]),
    ("gitRepo", &["repository"]),
    ("glusterfs", &["endpoints", "path"]),
    ("hostPath", &["path"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("local", &["path"]),
    ("nfs", &["server", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("quobyte", &["registry", "volume"]),
    ("rbd", &["monitors", "image"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("secret", &["secretName"]),
    ("vsphereVolume", &["volumePath"]),
];

/// Checks one source.
pub(crate) fn check_source(errors: &mut Errors, path: &Path, kind: &str, source: &Map) {
    let required = REQUIRED.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, keys)| keys);
    for key in required {
        if source.get(key).is_none_or(Value::is_empty) {
            errors.push(FieldError::required(path.child(key), ""));
        }
    }
    match kind {
        "hostPath" => check_host_path(errors, path, source),
        "local" => check::no_step_up(errors, &path.child("path"), source.str("path")),
        "nfs" if !source.str("path").is_empty() && !source.str("path").starts_with('/') => {
            errors.push(FieldError::invalid(path.child("path"), source.str("path"), "must be an absolute path"));
        }
        "emptyDir" => {
            let limit = source.get("sizeLimit").filter(|limit| !limit.is_null());
            if limit.is_some_and(|limit| super::amount(limit).is_negative()) {
                let wrong = "SizeLimit field must be a valid resource quantity";
                errors.push(FieldError::forbidden(path.child("sizeLimit"), wrong));
            }
        }
        "gcePersistentDisk" | "awsElasticBlockStore" => check_byte(errors, path, source, "partition"),
        "iscsi" => {
            check_byte(errors, path, source, "lun");
            let iqn = source.str("iqn");
            if !iqn.is_empty() && !["iqn", "eui", "naa"].iter().any(|prefix| iqn.starts_with(prefix)) {
                errors.push(FieldError::invalid(path.child("iqn"), iqn, "must be valid format"));
            }
        }
        "gitRepo" => check::inner_path(errors, &path.child("directory"), source.str("directory")),
        "csi" => check_driver(errors, &path.child("driver"), source.str("driver")),
        "azureDisk" => {
            check::optional_one_of(
                errors,
                &path.child("cachingMode"),
                source.str("cachingMode"),
                &["None", "ReadOnly", "ReadWrite"],
            );
            check::optional_one_of(
                errors,
                &path.child("kind"),
                source.str("kind"),
                &["Dedicated", "Managed", "Shared"],
            );
        }
        "fc" => check_fibre(errors, path, source),
        "flocker" => check_flocker(errors, path, source),
        _ => {}
    }
}

fn check_host_path(errors: &mut Errors, path: &Path, source: &Map) {
    let known = ["BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    check::optional_one_of(errors, &path.child("type"), source.str("type"), &known);
    check::no_step_up(errors, &path.child("path"), source.str("path"));
}

fn check_byte(errors: &mut Errors, path: &Path, source: &Map, key: &str) {
    if let Some(number) = check::number(source, key) {
        check::between(errors, &path.child(key), number, (0, 255));
    }
}

/// The name of a driver is a DNS name of at most 63 characters.
pub(crate) fn check_driver(errors: &mut Errors, path: &Path, name: &str) {
    if name.len() > 63 {
        errors.push(FieldError::too_long(path, 63));
    }
    if !name.is_empty() {
        check::named(errors, path, &name.to_lowercase(), names::dns1123_subdomain);
    }
}

fn check_fibre(errors: &mut Errors, path: &Path, source: &Map) {
    let (wwns, wwids) = (check::list(source, "targetWWNs"), check::list(source, "wwids"));
    match (wwns.is_empty(), wwids.is_empty()) {
        (true, true) => {
            let wrong = "must specify either targetWWNs or wwids, but not both";
            errors.push(FieldError::required(path.child("targetWWNs"), wrong));
        }
        (false, false) => {
            let wrong = "targetWWNs and wwids can not be specified simultaneously";
            errors.push(FieldError::invalid(path.child("targetWWNs"), Value::from(wwns), wrong));
        }
        (false, true) => match check::number(source, "lun") {
            None => {
                let wrong = "lun is required if targetWWNs is specified";
                errors.push(FieldError::required(path.child("lun"), wrong));
            }
            Some(_) => check_byte(errors, path, source, "lun"),
        },
        _ => {}
    }
}

fn check_flocker(errors: &mut Errors, path: &Path, source: &Map) {
    let (name, uid) = (source.str("datasetName"), source.str("datasetUUID"));
    match (name.is_empty(), uid.is_empty()) {
        (true, true) => {
            errors.push(FieldError::required(path, "one of datasetName and datasetUUID is required"));
        }
        (false, false) => {
            let wrong = "resource, datasetName and datasetUUID can not be specified simultaneously";
            errors.push(FieldError::invalid(path, "resource", wrong));
        }
        _ => {}
    }
    if name.contains('/') {
        errors.push(FieldError::invalid(path.child("datasetName"), name, "must not contain '/'"));
    }
}
