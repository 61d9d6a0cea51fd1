//! `StorageObjectInUseProtection`: volumes, claims and classes of volume attributes stay while they are in use.
//!
//! New ones get a finalizer; a controller takes it away when nothing uses them any more.

use apimachinery::{Object, Status};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};

const PROTECTED: &[(&str, &str, &str)] = &[
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

pub(super) const PLUGIN: Plugin = Plugin {
    name: "StorageObjectInUseProtection",
    by_default: true,
    handles: |attributes| attributes.operation == Operation::Create && finalizer(attributes).is_some(),
    mutate: Some(mutate),
    validate: None,
};

fn finalizer(attributes: &Attributes<'_>) -> Option<&'static str> {
    let row = PROTECTED.iter().find(|(group, plural, _)| attributes.is(group, plural))?;
    attributes.info.subresource.is_empty().then_some(row.2)
}

fn mutate<'a>(attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let finalizer = finalizer(attributes);
    if let (Some(object), Some(finalizer)) = (attributes.object.as_deref_mut(), finalizer) {
        protect(object, finalizer);
    }
    futures::future::ready(Ok(())).boxed()
}

fn protect(object: &mut Object, finalizer: &str) {
    let mut finalizers: Vec<String> = object.finalizers().map(str::to_owned).collect();
    if !finalizers.iter().any(|present| present == finalizer) {
        finalizers.push(finalizer.to_owned());
        object.set_finalizers(&finalizers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protection_is_added_once() {
        let mut claim = Object::new("v1", "PersistentVolumeClaim");
        claim.set_finalizers(&["own/one"]);
        for _ in 0..2 {
            protect(&mut claim, PROTECTED[1].2);
        }
        assert_eq!(claim.finalizers().collect::<Vec<_>>(), ["own/one", "kubernetes.io/pvc-protection"]);
    }
}
