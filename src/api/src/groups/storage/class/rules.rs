//! The rules for storage classes, drivers, attachments and what drivers report.

use crate::check::{self, Errors};
use crate::pod_spec::{amount, check_driver};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::Value;
use std::collections::HashSet;

/// How long an identity of a node may be.
const LONGEST_NODE_ID: usize = 192;

pub(super) fn validate_class(class: &Object) -> Errors {
    let mut errors = Errors::new();
    let provisioner = class.str_at(&["provisioner"]);
    let path = Path::new("provisioner");
    if provisioner.is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else {
        check::named(&mut errors, &path, &provisioner.to_lowercase(), names::qualified_name);
    }
    let policy = class.str_at(&["reclaimPolicy"]);
    check::one_of(&mut errors, &Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
    let mode = class.str_at(&["volumeBindingMode"]);
    let known = ["Immediate", "WaitForFirstConsumer"];
    check::one_of(&mut errors, &Path::new("volumeBindingMode"), mode, &known);
    for (index, term) in check::maps(class.as_map(), "allowedTopologies") {
        let path = Path::new("allowedTopologies").index(index);
        for (at, expression) in check::maps(term, "matchLabelExpressions") {
            let path = path.child("matchLabelExpressions").index(at);
            check::named(&mut errors, &path.child("key"), expression.str("key"), names::qualified_name);
            if check::list(expression, "values").is_empty() {
                errors.push(FieldError::required(path.child("values"), ""));
            }
        }
    }
    errors
}

pub(super) fn validate_class_update(new: &Object, old: &Object) -> Errors {
    let mut errors = forbid(new, old, &["parameters", "provisioner", "reclaimPolicy"]);
    let mode = "volumeBindingMode";
    check::unchanged(&mut errors, &Path::new(mode), new.get(mode), old.get(mode));
    errors
}

fn forbid(new: &Object, old: &Object, keys: &[&str]) -> Errors {
    let changed = keys.iter().filter(|key| new.get(key) != old.get(key));
    changed.map(|key| FieldError::forbidden(*key, format!("updates to {key} are forbidden."))).collect()
}

pub(super) fn validate_attributes(class: &Object) -> Errors {
    let mut errors = Errors::new();
    let driver = class.str_at(&["driverName"]);
    check::required(&mut errors, &Path::new("driverName"), driver);
    check_driver(&mut errors, &Path::new("driverName"), driver);
    if class.map_at(&["parameters"]).is_empty() {
        let wrong = "must contain at least one key/value pair";
        errors.push(FieldError::required("parameters", wrong));
    }
    errors
}

pub(super) fn validate_attributes_update(new: &Object, old: &Object) -> Errors {
    forbid(new, old, &["driverName", "parameters"])
}

pub(super) fn validate_driver(driver: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = driver.map_at(&["spec"]);
    check_driver(&mut errors, &Path::new("metadata.name"), driver.name());
    let policy = spec.str("fsGroupPolicy");
    let known = ["File", "None", "ReadWriteOnceWithFSType"];
    check::optional_one_of(&mut errors, &path.child("fsGroupPolicy"), policy, &known);
    for (index, mode) in check::texts(spec, "volumeLifecycleModes") {
        let path = path.child("volumeLifecycleModes").index(index);
        check::one_of(&mut errors, &path, mode, &["Ephemeral", "Persistent"]);
    }
    let mut seen = HashSet::new();
    for (index, request) in check::maps(spec, "tokenRequests") {
        let path = path.child("tokenRequests").index(index);
        if !seen.insert(request.str("audience")) {
            errors.push(FieldError::duplicate(path.child("audience"), request.str("audience")));
        }
        let Some(seconds) = check::number(request, "expirationSeconds") else { continue };
        let wrong = match seconds {
            ..600 => "may not specify a duration less than 10 minutes",
            600..=4_294_967_296 => continue,
            _ => "may not specify a duration larger than 2^32 seconds",
        };
        errors.push(FieldError::invalid(path.child("expirationSeconds"), seconds, wrong));
    }
    errors
}

pub(super) fn validate_driver_update(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    for key in ["attachRequired", "volumeLifecycleModes"] {
        let path = ["spec", key];
        check::unchanged(&mut errors, &Path::new("spec").child(key), new.at(&path), old.at(&path));
    }
    errors
}

pub(super) fn validate_node(node: &Object) -> Errors {
    let mut errors = Errors::new();
    let mut seen = HashSet::new();
    for (index, driver) in check::maps(node.map_at(&["spec"]), "drivers") {
        let path = Path::new("spec.drivers").index(index);
        let name = driver.str("name");
        check::required(&mut errors, &path.child("name"), name);
        check_driver(&mut errors, &path.child("name"), name);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        let id = driver.str("nodeID");
        if id.is_empty() {
            errors.push(FieldError::required(path.child("nodeID"), id));
        } else if id.len() > LONGEST_NODE_ID {
            errors.push(FieldError::too_long(path.child("nodeID"), LONGEST_NODE_ID));
        }
        check::not_negative(&mut errors, &path.child("allocatable"), check::part(driver, "allocatable"), "count");
        let mut keys = HashSet::new();
        for (_, key) in check::texts(driver, "topologyKeys") {
            check::named(&mut errors, &path.child("topologyKeys"), key, names::qualified_name);
            if !keys.insert(key) {
                errors.push(FieldError::duplicate(path.child("topologyKeys"), key));
            }
        }
    }
    errors
}

pub(super) fn validate_attachment(attachment: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = attachment.map_at(&["spec"]);
    for key in ["attacher", "nodeName"] {
        check::required(&mut errors, &path.child(key), spec.str(key));
    }
    check_driver(&mut errors, &path.child("attacher"), spec.str("attacher"));
    let source = check::part(spec, "source");
    let (inline, name) = (check::set(source, "inlineVolumeSpec"), check::set(source, "persistentVolumeName"));
    let path = path.child("source");
    match (inline, name) {
        (false, false) => {
            let wrong = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            errors.push(FieldError::required(path, wrong));
        }
        (true, true) => {
            let wrong = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            errors.push(FieldError::forbidden(path, wrong));
        }
        (false, true) => {
            check::required(&mut errors, &path.child("persistentVolumeName"), source.str("persistentVolumeName"));
        }
        (true, false) => {}
    }
    errors
}

pub(super) fn validate_capacity(capacity: &Object) -> Errors {
    let mut errors = Errors::new();
    let class = capacity.str_at(&["storageClassName"]);
    check::named(&mut errors, &Path::new("storageClassName"), class, names::dns1123_subdomain);
    for key in ["capacity", "maximumVolumeSize"] {
        let given = capacity.get(key).filter(|given| !given.is_null());
        if let Some(given) = given.filter(|given| amount(given).is_negative()) {
            errors.push(FieldError::invalid(key, given.clone(), check::NOT_NEGATIVE));
        }
    }
    if let Some(topology) = capacity.get("nodeTopology").filter(|topology| !Value::is_null(topology)) {
        check::selector(&mut errors, &Path::new("nodeTopology"), topology);
    }
    errors
}

pub(super) fn validate_capacity_update(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    for key in ["nodeTopology", "storageClassName"] {
        check::unchanged(&mut errors, &Path::new(key), new.get(key), old.get(key));
    }
    errors
}

#[cfg(test)]
mod tests {
    use crate::groups::tests::{errors, update_errors};
    use apimachinery::value;
    use apimachinery::value::Value;

    #[test]
    fn classes_and_drivers_are_checked() {
        let check = |plural: &str, object: Value, expected: &[&str]| assert_eq!(errors(plural, object), expected);
        check("storageclasses", value!({"provisioner": "kubernetes.io/no-provisioner"}), &[]);
        check("storageclasses", value!({}), &["provisioner: Required value"]);
        check(
            "csidrivers",
            value!({"metadata": {"name": "d"}, "spec": {"fsGroupPolicy": "Never", "tokenRequests": [{"audience": "a", "expirationSeconds": 5}, {"audience": "a"}]}}),
            &[
                r#"spec.fsGroupPolicy: Unsupported value: "Never": supported values: "File", "None", "ReadWriteOnceWithFSType""#,
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
                r#"spec.tokenRequests[1].audience: Duplicate value: "a""#,
            ],
        );
        check(
            "csinodes",
            value!({"spec": {"drivers": [{"name": "d", "nodeID": "n"}, {"name": "d"}]}}),
            &[r#"spec.drivers[1].name: Duplicate value: "d""#, "spec.drivers[1].nodeID: Required value"],
        );
        check(
            "volumeattachments",
            value!({"spec": {"attacher": "a", "nodeName": "n", "source": {}}}),
            &["spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"],
        );
        check(
            "volumeattributesclasses",
            value!({"driverName": "d"}),
            &["parameters: Required value: must contain at least one key/value pair"],
        );
        check(
            "csistoragecapacities",
            value!({"storageClassName": "c", "capacity": "-1"}),
            &[r#"capacity: Invalid value: "-1": must be greater than or equal to 0"#],
        );
    }

    #[test]
    fn what_classes_promise_never_changes() {
        let class = |provisioner: &str, mode: &str| value!({"provisioner": provisioner, "volumeBindingMode": mode});
        assert_eq!(
            update_errors("storageclasses", class("b", "Immediate"), class("a", "WaitForFirstConsumer")),
            [
                "provisioner: Forbidden: updates to provisioner are forbidden.",
                r#"volumeBindingMode: Invalid value: "Immediate": field is immutable"#,
            ]
        );
        let driver = |attach: bool| value!({"spec": {"attachRequired": attach}});
        assert_eq!(
            update_errors("csidrivers", driver(false), driver(true)),
            ["spec.attachRequired: Invalid value: false: field is immutable"]
        );
    }
}
