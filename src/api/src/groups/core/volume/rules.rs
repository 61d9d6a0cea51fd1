//! The rules for volumes and claims: one source that stays what it is, sizes that only grow.

use crate::check::{self, Errors};
use crate::pod_spec::{self, amount};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::quantity::Quantity;
use apimachinery::value::{Map, Value};

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// The fields of a volume that are no source.
const NO_SOURCES: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

fn sources(spec: &Map) -> impl Iterator<Item = (&str, &Value)> {
    let all = spec.iter().map(|(key, value)| (key.as_str(), value));
    all.filter(|(key, value)| !NO_SOURCES.contains(key) && !value.is_null())
}

pub(super) fn validate_volume(volume: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = volume.map_at(&["spec"]);
    check_modes(&mut errors, &path, spec, "");
    check_capacity(&mut errors, &path.child("capacity"), check::part(spec, "capacity"));
    let policy = spec.str("persistentVolumeReclaimPolicy");
    let at = path.child("persistentVolumeReclaimPolicy");
    check::one_of(&mut errors, &at, policy, &["Delete", "Recycle", "Retain"]);
    if spec.get("hostPath").is_some_and(|source| source.str("path") == "/") && policy == "Recycle" {
        errors.push(FieldError::forbidden(at, "may not be 'recycle' for a hostPath mount of '/'"));
    }
    for (index, (kind, source)) in sources(spec).enumerate() {
        let path = path.child(kind);
        let Some(source) = source.as_map() else { continue };
        if index > 0 {
            errors.push(FieldError::forbidden(path, "may not specify more than 1 volume type"));
            continue;
        }
        pod_spec::check_source(&mut errors, &path, kind, source);
        if kind == "csi" {
            check_csi(&mut errors, &path, source);
        }
    }
    if sources(spec).next().is_none() {
        errors.push(FieldError::required(&path, "must specify a volume type"));
    }
    let terms = check::part(check::part(spec, "nodeAffinity"), "required");
    if check::set(spec, "local") && terms.is_empty() {
        errors.push(FieldError::required(path.child("nodeAffinity"), "Local volume requires node affinity"));
    }
    if check::set(spec, "nodeAffinity") {
        let path = path.children(&["nodeAffinity", "required"]);
        if !check::set(check::part(spec, "nodeAffinity"), "required") {
            errors.push(FieldError::required(path, "must specify required node constraints"));
        } else if check::list(terms, "nodeSelectorTerms").is_empty() {
            let told = "must have at least one node selector term";
            errors.push(FieldError::required(path.child("nodeSelectorTerms"), told));
        }
    }
    for (index, term) in check::maps(terms, "nodeSelectorTerms") {
        let path = path.children(&["nodeAffinity", "required", "nodeSelectorTerms"]).index(index);
        pod_spec::check_node_term(&mut errors, &path, term);
    }
    if check::set(spec, "volumeAttributesClassName") && !check::set(spec, "csi") {
        let wrong = "has to be specified when using volumeAttributesClassName";
        errors.push(FieldError::required(path.child("csi"), wrong));
    }
    check_classes(&mut errors, &path, spec);
    errors
}

fn check_capacity(errors: &mut Errors, path: &Path, capacity: &Map) {
    if capacity.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !capacity.contains_key("storage") || capacity.len() > 1 {
        errors.push(FieldError::not_supported(path, Value::Map(capacity.clone()), &["storage"]));
    }
    for (name, value) in capacity.iter() {
        check_size(errors, &path.key(name), value);
    }
}

fn check_size(errors: &mut Errors, path: &Path, value: &Value) {
    let size = amount(value);
    if size.is_negative() || size.is_zero() {
        errors.push(FieldError::invalid(path, value.clone(), "must be greater than zero"));
    }
}

fn check_csi(errors: &mut Errors, path: &Path, source: &Map) {
    check::required(errors, &path.child("volumeHandle"), source.str("volumeHandle"));
    for key in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
        "nodeStageSecretRef",
    ] {
        if let Some(secret) = source.get(key).and_then(Value::as_map) {
            for field in ["name", "namespace"] {
                check::required(errors, &path.child(key).child(field), secret.str(field));
            }
        }
    }
}

fn check_classes(errors: &mut Errors, path: &Path, spec: &Map) {
    for key in ["storageClassName", "volumeAttributesClassName"] {
        let name = spec.str(key);
        if !name.is_empty() {
            check::named(errors, &path.child(key), name, names::dns1123_subdomain);
        }
    }
}

pub(super) fn validate_volume_update(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let source = |volume: &Object| -> Vec<(String, Value)> {
        let spec = volume.map_at(&["spec"]);
        sources(spec)
            .map(|(kind, source)| {
                let mut source = source.clone();
                // The one secret that may be added later.
                if old.at(&["spec", "csi", "controllerExpandSecretRef"]).is_none() {
                    source.remove_at(&["controllerExpandSecretRef"]);
                }
                (kind.to_owned(), source)
            })
            .collect()
    };
    if source(new) != source(old) {
        let wrong = "spec.persistentvolumesource is immutable after creation";
        errors.push(FieldError::forbidden("spec.persistentvolumesource", wrong));
    }
    let at = |volume: &Object, key: &str| volume.at(&["spec", key]).cloned();
    check::unchanged(
        &mut errors,
        &Path::new("volumeMode"),
        at(new, "volumeMode").as_ref(),
        at(old, "volumeMode").as_ref(),
    );
    let affinity = at(old, "nodeAffinity").filter(|affinity| !affinity.is_empty());
    if affinity.is_some() {
        let path = Path::new("spec.nodeAffinity");
        check::unchanged(&mut errors, &path, at(new, "nodeAffinity").as_ref(), affinity.as_ref());
    }
    errors
}

/// Checks the specification of a claim, also in the template of a stateful set.
pub(crate) fn check_claim(errors: &mut Errors, path: &Path, spec: &Map) {
    check_modes(errors, path, spec, "at least 1 access mode is required");
    if let Some(selector) = spec.get("selector").filter(|selector| !selector.is_null()) {
        check::selector(errors, &path.child("selector"), selector);
    }
    let requests = check::part(check::part(spec, "resources"), "requests");
    let size = path.child("resources").key("storage");
    match requests.get("storage") {
        None => errors.push(FieldError::required(size, "")),
        Some(value) => check_size(errors, &size, value),
    }
    check_classes(errors, path, spec);
    for key in ["dataSource", "dataSourceRef"] {
        let Some(source) = spec.get(key).and_then(Value::as_map) else { continue };
        let path = path.child(key);
        for field in ["name", "kind"] {
            check::required(errors, &path.child(field), source.str(field));
        }
        if source.str("apiGroup").is_empty() && !matches!(source.str("kind"), "" | "PersistentVolumeClaim") {
            let wrong = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(FieldError::invalid(&path, source.str("kind"), wrong));
        }
    }
}

fn check_modes(errors: &mut Errors, path: &Path, spec: &Map, why: &str) {
    let modes = check::list(spec, "accessModes");
    if modes.is_empty() {
        errors.push(FieldError::required(path.child("accessModes"), why));
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

/// The words for the little of a claim that may change.
const FROZEN: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

pub(super) fn validate_claim_update(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let bound = new.str_at(&["status", "phase"]) == "Bound";
    let unnamed = old.str_at(&["spec", "volumeName"]).is_empty();
    let classless = old.at(&["spec", "storageClassName"]).is_none_or(Value::is_null) && unnamed;
    let frozen = |claim: &Object| {
        let mut spec = claim.map_at(&["spec"]).clone();
        if unnamed {
            spec.remove("volumeName");
        }
        // A claim that was made before there was a default class may get it later.
        if classless {
            spec.remove("storageClassName");
        }
        if bound {
            spec.remove("volumeAttributesClassName");
            let requests = crate::fill::part(&mut spec, "resources")
                .and_then(|resources| crate::fill::part(resources, "requests"));
            if let Some(requests) = requests {
                requests.remove("storage");
            }
        }
        spec
    };
    if frozen(new) != frozen(old) {
        errors.push(FieldError::forbidden("spec", FROZEN));
    }
    let size = |claim: &Object, path: &[&str]| claim.at(path).map_or(Quantity::ZERO, amount);
    let request = ["spec", "resources", "requests", "storage"];
    let has = size(old, &["status", "capacity", "storage"]);
    if size(new, &request) < size(old, &request) && size(new, &request) <= has {
        let wrong = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden("spec.resources.requests.storage", wrong));
    }
    let class = ["spec", "volumeAttributesClassName"];
    if !old.str_at(&class).is_empty() && new.str_at(&class).is_empty() {
        let wrong = "update from non-nil value to nil is forbidden";
        errors.push(FieldError::forbidden("spec.volumeAttributesClassName", wrong));
    }
    errors
}

#[cfg(test)]
mod tests {
    use crate::groups::tests::{errors, update_errors};
    use apimachinery::value;
    use apimachinery::value::Value;

    fn volume(change: (&str, Value)) -> Value {
        let mut volume = value!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "nfs": {"server": "s", "path": "/x"}}});
        volume.set_at(&["spec", change.0], change.1);
        volume
    }

    #[test]
    fn a_volume_has_one_whole_source() {
        let check = |key: &str, value: Value, expected: &[&str]| {
            assert_eq!(errors("persistentvolumes", volume((key, value))), expected);
        };
        check("mountOptions", value!(["ro"]), &[]);
        check("nfs", Value::Null, &["spec: Required value: must specify a volume type"]);
        check("csi", value!({"driver": "d"}), &["spec.csi: Forbidden: may not specify more than 1 volume type"]);
        check("nfs", value!({"server": "s"}), &["spec.nfs.path: Required value"]);
        check(
            "capacity",
            value!({"storage": "0", "x": "1"}),
            &[
                r#"spec.capacity: Unsupported value: {"storage":"0","x":"1"}: supported values: "storage""#,
                r#"spec.capacity[storage]: Invalid value: "0": must be greater than zero"#,
            ],
        );
        let mut local = volume(("local", value!({"path": "/mnt"})));
        local.remove_at(&["spec", "nfs"]);
        assert_eq!(
            errors("persistentvolumes", local),
            ["spec.nodeAffinity: Required value: Local volume requires node affinity"]
        );
        let mut driver = volume(("csi", value!({"driver": "d", "nodePublishSecretRef": {"name": "n"}})));
        driver.remove_at(&["spec", "nfs"]);
        assert_eq!(
            errors("persistentvolumes", driver),
            ["spec.csi.volumeHandle: Required value", "spec.csi.nodePublishSecretRef.namespace: Required value"]
        );
    }

    #[test]
    fn a_source_never_changes() {
        let check = |key: &str, value: Value, expected: &[&str]| {
            assert_eq!(update_errors("persistentvolumes", volume((key, value)), volume(("x", Value::Null))), expected);
        };
        check("capacity", value!({"storage": "2Gi"}), &[]);
        check("nodeAffinity", value!({"required": {"nodeSelectorTerms": [{}]}}), &[]);
        check(
            "nfs",
            value!({"server": "t", "path": "/x"}),
            &["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"],
        );
        check("volumeMode", "Block".into(), &[r#"volumeMode: Invalid value: "Block": field is immutable"#]);
    }

    #[test]
    fn a_bound_claim_changes_only_its_size() {
        let claim = |size: &str, extra: (&str, Value)| {
            let mut claim = value!({
                "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": "v", "storageClassName": "c",
                    "resources": {"requests": {"storage": size}}},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}},
            });
            let path: Vec<&str> = extra.0.split('/').collect();
            claim.set_at(&path, extra.1);
            claim
        };
        let check = |new: Value, expected: &[&str]| {
            assert_eq!(update_errors("persistentvolumeclaims", new, claim("2Gi", ("x", Value::Null))), expected);
        };
        let frozen = format!("spec: Forbidden: {}", super::FROZEN);
        check(claim("3Gi", ("x", Value::Null)), &[]);
        check(claim("1500Mi", ("x", Value::Null)), &[]);
        check(claim("2Gi", ("spec/volumeAttributesClassName", "gold".into())), &[]);
        check(
            claim("1Gi", ("x", Value::Null)),
            &["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
        );
        check(claim("2Gi", ("spec/volumeName", "w".into())), &[&frozen]);
        check(claim("2Gi", ("spec/storageClassName", "d".into())), &[&frozen]);
        check(claim("3Gi", ("status/phase", "Pending".into())), &[&frozen]);
    }

    #[test]
    fn a_claim_without_a_volume_may_still_get_one_and_a_class() {
        let claim = |spec: Value| value!({"spec": (spec)});
        let old = claim(value!({"accessModes": ["ReadWriteOnce"]}));
        let new = claim(value!({"accessModes": ["ReadWriteOnce"], "volumeName": "v", "storageClassName": "c"}));
        assert_eq!(update_errors("persistentvolumeclaims", new, old), Vec::<String>::new());
        let wrong = errors(
            "persistentvolumeclaims",
            value!({"spec": {"accessModes": ["Any"], "resources": {"requests": {"storage": "-1"}},
                "dataSource": {"kind": "Secret", "name": "s"}}}),
        );
        assert_eq!(
            wrong,
            [
                r#"spec.accessModes: Unsupported value: "Any": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod""#,
                r#"spec.resources[storage]: Invalid value: "-1": must be greater than zero"#,
                r#"spec.dataSource: Invalid value: "Secret": must be 'PersistentVolumeClaim' when referencing the default apiGroup"#,
            ]
        );
    }
}
