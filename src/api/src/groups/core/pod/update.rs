//! What of a pod that exists may still change, and through which subresource.

use super::qos_class;
use crate::check::{self, Errors};
use crate::fill::each;
use crate::pod_spec;
use crate::resource::Action;
use apimachinery::field::{FieldError, Path};
use apimachinery::object::Object;
use apimachinery::value::{Map, Value};

/// The words for the few fields of a pod that may change.
const FROZEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks a change of a pod itself.
pub(super) fn validate(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let (new_spec, old_spec) = (new.map_at(&["spec"]), old.map_at(&["spec"]));
    check_deadline(&mut errors, &path, new_spec, old_spec);
    for list in ["containers", "initContainers"] {
        if check::list(new_spec, list).len() != check::list(old_spec, list).len() {
            let wrong = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(path.child(list), wrong));
            return errors;
        }
    }
    let lasting = |spec: &Map| -> Vec<Map> {
        let mut all: Vec<Map> = check::maps(spec, "tolerations").map(|(_, one)| one.clone()).collect();
        for one in &mut all {
            one.remove("tolerationSeconds");
        }
        all
    };
    let tolerations = lasting(new_spec);
    if lasting(old_spec).iter().any(|one| !tolerations.contains(one)) {
        errors.push(FieldError::forbidden(
            path.child("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
    let gates = check::list(old_spec, "schedulingGates");
    let added = check::list(new_spec, "schedulingGates").iter().find(|gate| !gates.contains(gate));
    if let Some(gate) = added {
        let wrong = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.str("name"));
        errors.push(FieldError::forbidden(path.child("schedulingGates"), wrong));
    }
    let held = !gates.is_empty();
    if frozen(new_spec, held) != frozen(old_spec, held) {
        errors.push(FieldError::forbidden(&path, FROZEN));
    }
    errors
}

fn check_deadline(errors: &mut Errors, path: &Path, new: &Map, old: &Map) {
    let key = "activeDeadlineSeconds";
    match (check::number(old, key), check::number(new, key)) {
        (Some(old), Some(new)) if new > old => {
            let wrong = format!("must be less than or equal to previous value {old}");
            errors.push(FieldError::invalid(path.child(key), new, wrong));
        }
        (Some(_), None) => {
            let wrong = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(path.child(key), Value::Null, wrong));
        }
        _ => {}
    }
}

/// The specification without what may change; a pod that is held back may still be steered.
fn frozen(spec: &Map, gated: bool) -> Map {
    let mut rest = spec.clone();
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates", "ephemeralContainers"] {
        rest.remove(key);
    }
    if check::number(&rest, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        rest.insert("terminationGracePeriodSeconds", 1);
    }
    if gated {
        rest.remove("nodeSelector");
        rest.remove("affinity");
    }
    for list in ["containers", "initContainers"] {
        for container in each(&mut rest, list) {
            container.remove("image");
        }
    }
    rest.retain(|_, value| !value.is_null());
    rest
}

/// Checks a change through a subresource.
pub(super) fn validate_part(action: Action, new: &Object, old: &Object) -> Errors {
    match action {
        Action::EphemeralContainers => validate_ephemeral(new, old),
        Action::Resize => validate_resize(new, old),
        _ => Errors::new(),
    }
}

/// Ephemeral containers are added and stay.
fn validate_ephemeral(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec.ephemeralContainers");
    if old.annotation(pod_spec::MIRROR_ANNOTATION).is_some() {
        errors.push(FieldError::forbidden("", "static pods do not support ephemeral containers"));
    }
    pod_spec::check_spec(&mut errors, &Path::new("spec"), new.map_at(&["spec"]));
    let list = ["spec", "ephemeralContainers"];
    for before in old.list_at(&list) {
        let name = before.str("name");
        match new.list_at(&list).iter().find(|one| one.str("name") == name) {
            None => {
                let wrong = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.push(FieldError::forbidden(&path, wrong));
            }
            Some(now) if now != before => {
                let wrong = format!("existing ephemeral containers {name:?} may not be changed\n");
                errors.push(FieldError::forbidden(&path, wrong));
            }
            Some(_) => {}
        }
    }
    errors
}

/// A running pod may be given more or less CPU and memory, within its quality of service.
fn validate_resize(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    if old.annotation(pod_spec::MIRROR_ANNOTATION).is_some() {
        errors.push(FieldError::forbidden("", "static pods cannot be resized"));
    }
    if old.str_at(&["spec", "os", "name"]) == "windows" {
        errors.push(FieldError::forbidden("", "windows pods cannot be resized"));
    }
    if matches!(old.str_at(&["status", "phase"]), "Succeeded" | "Failed") {
        let wrong = format!("Pod is in phase {}, which cannot be resized", old.str_at(&["status", "phase"]));
        errors.push(FieldError::forbidden("", wrong));
    }
    pod_spec::check_spec(&mut errors, &path, new.map_at(&["spec"]));
    if qos_class(new) != qos_class(old) {
        let wrong = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&path, qos_class(new), wrong));
    }
    for list in ["containers", "initContainers"] {
        let pairs = new.list_at(&["spec", list]).iter().zip(old.list_at(&["spec", list]));
        for (index, (now, before)) in pairs.enumerate() {
            let path = path.child(list).index(index);
            let sidecar = list == "containers" || before.str("restartPolicy") == "Always";
            if now.get("resources") != before.get("resources") && !sidecar {
                let wrong = "resources for non-sidecar init containers are immutable";
                errors.push(FieldError::forbidden(path.child("resources"), wrong));
                continue;
            }
            for kind in ["requests", "limits"] {
                check_resized(&mut errors, &path.child("resources").child(kind), (now, before), kind);
            }
        }
    }
    errors
}

fn check_resized(errors: &mut Errors, path: &Path, (new, old): (&Value, &Value), kind: &str) {
    let of =
        |container: &Value| container.at(&["resources", kind]).and_then(Value::as_map).cloned().unwrap_or_default();
    let (new, old) = (of(new), of(old));
    let is_fixed = |name: &str| !matches!(name, "cpu" | "memory");
    let differs = |name: &str| new.get(name).map(pod_spec::amount) != old.get(name).map(pod_spec::amount);
    if new.keys().chain(old.keys()).any(|name| is_fixed(name) && differs(name)) {
        errors.push(FieldError::forbidden(path, "only cpu and memory resources are mutable"));
    }
    if let Some(name) = old.keys().find(|name| !is_fixed(name) && !new.contains_key(name)) {
        errors.push(FieldError::forbidden(path.key(name), format!("resource {kind} cannot be removed")));
    }
}
