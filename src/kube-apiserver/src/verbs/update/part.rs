//! Which part of an object a path changes; everything else stays as it was.

use api::{Action, ResourceDescriptor};
use apimachinery::{Object, Value};

/// A part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but the status.
    Main,
    /// The status (and labels, annotations and finalizers, as upstream).
    Status,
    /// The scale of a workload.
    Scale,
    /// The ephemeral containers of a pod.
    EphemeralContainers,
    /// The resources of a pod's containers.
    Resize,
    /// The finalizers in the spec of a namespace.
    Finalize,
    /// The approval conditions of a certificate signing request.
    Approval,
}

impl Part {
    /// The subresource that changes only this part.
    pub(crate) fn action(self) -> Option<Action> {
        match self {
            Self::Main | Self::Scale => None,
            Self::Status => Some(Action::Status),
            Self::EphemeralContainers => Some(Action::EphemeralContainers),
            Self::Resize => Some(Action::Resize),
            Self::Finalize => Some(Action::Finalize),
            Self::Approval => Some(Action::Approval),
        }
    }

    /// Takes from the old object whatever this part does not change.
    pub(crate) fn isolate(self, new: &mut Object, old: &Object, descriptor: &ResourceDescriptor) {
        match self {
            Self::Main => {
                if descriptor.subresource("status").is_some() {
                    put(new, &["status"], old.at(&["status"]));
                }
                if descriptor.plural == "namespaces" {
                    put(new, &["spec", "finalizers"], old.at(&["spec", "finalizers"]));
                }
            }
            Self::Status => {
                let status = new.at(&["status"]).cloned();
                let metadata = new.at(&["metadata"]).cloned();
                *new = old.clone();
                put(new, &["status"], status.as_ref());
                put(new, &["metadata"], metadata.as_ref());
                put(new, &["metadata", "ownerReferences"], old.at(&["metadata", "ownerReferences"]));
            }
            Self::Scale => {}
            Self::EphemeralContainers => only(new, old, &["spec", "ephemeralContainers"]),
            Self::Resize => keep_resources(new, old),
            Self::Finalize => only(new, old, &["spec", "finalizers"]),
            Self::Approval => {
                let conditions = new.at(&["status", "conditions"]).cloned();
                *new = with_version_of(new, old);
                put(new, &["status", "conditions"], conditions.as_ref());
            }
        }
    }
}

/// The old object, at the resourceVersion the client believes it to be.
fn with_version_of(new: &Object, old: &Object) -> Object {
    let mut object = old.clone();
    object.set_resource_version(new.resource_version());
    object
}

fn only(new: &mut Object, old: &Object, path: &[&str]) {
    let wanted = new.at(path).cloned();
    *new = with_version_of(new, old);
    put(new, path, wanted.as_ref());
}

fn put(object: &mut Object, path: &[&str], value: Option<&Value>) {
    match value {
        Some(value) => object.set_at(path, value.clone()),
        None => {
            object.remove_at(path);
        }
    }
}

/// A resize changes the resources of containers and nothing else.
fn keep_resources(new: &mut Object, old: &Object) {
    let mut kept = with_version_of(new, old);
    for list in ["containers", "initContainers"] {
        let wanted = new.list_at(&["spec", list]).to_vec();
        let Some(containers) = kept.at_mut(&["spec", list]).and_then(Value::as_list_mut) else { continue };
        for container in containers {
            let name = container.str("name").to_owned();
            let same = wanted.iter().find(|candidate| candidate.str("name") == name);
            for field in ["resources", "resizePolicy"] {
                if let Some(value) = same.and_then(|same| same.get(field)) {
                    container.set_at(&[field], value.clone());
                }
            }
        }
    }
    *new = kept;
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    fn row(plural: &str) -> &'static ResourceDescriptor {
        api::resources().iter().find(|row| row.plural == plural).unwrap()
    }

    fn check(part: Part, plural: &str, (old, new): (Value, Value), expected: &Value) {
        let old = Object::try_from(old).unwrap();
        let mut new = Object::try_from(new).unwrap();
        part.isolate(&mut new, &old, row(plural));
        assert_eq!(&new.into_value(), expected, "{part:?}");
    }

    #[test]
    fn each_part_leaves_the_others_alone() {
        let old = || value!({"metadata": {"name": "a"}, "spec": {"x": 1}, "status": {"y": 1}});
        let new = || value!({"metadata": {"name": "a"}, "spec": {"x": 2}, "status": {"y": 2}});
        let expected = value!({"metadata": {"name": "a"}, "spec": {"x": 2}, "status": {"y": 1}});
        check(Part::Main, "pods", (old(), new()), &expected);
        let expected = value!({"metadata": {"name": "a"}, "spec": {"x": 1}, "status": {"y": 2}});
        check(Part::Status, "pods", (old(), new()), &expected);
        let without = value!({"metadata": {"name": "a"}, "spec": {"x": 1}});
        check(Part::Status, "pods", (old(), without.clone()), &without);
    }

    #[test]
    fn a_resize_changes_only_resources() {
        let old = value!({"spec": {"containers": [{"name": "c", "image": "a", "resources": {}}]}});
        let new =
            value!({"spec": {"containers": [{"name": "c", "image": "b", "resources": {"limits": {"cpu": "1"}}}]}});
        let expected = value!({"spec": {"containers": [{"name": "c", "image": "a", "resources": {"limits": {"cpu": "1"}}}]}, "metadata": {}});
        check(Part::Resize, "pods", (old, new), &expected);
    }
}
