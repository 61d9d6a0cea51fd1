//! `PersistentVolumeClaimResize`: a claim grows only if its storage class says that its volumes can.

use apimachinery::quantity::Quantity;
use apimachinery::{Object, Status};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    name: "PersistentVolumeClaimResize",
    by_default: true,
    handles: |attributes| {
        attributes.operation == Operation::Update
            && attributes.is("", "persistentvolumeclaims")
            && attributes.info.subresource.is_empty()
    },
    mutate: None,
    validate: Some(validate),
};

fn validate<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let outcome = match (attributes.object.as_deref(), attributes.old) {
        (Some(new), Some(old)) => {
            let class = class_of(new);
            let found = attributes.app.registry.get("storage.k8s.io", "storageclasses", "", class);
            check(new, old, found.map(|class| class.object()).as_ref())
        }
        _ => Ok(()),
    };
    futures::future::ready(outcome.map_err(|why| attributes.forbidden(why))).boxed()
}

fn size(claim: &Object) -> Quantity {
    claim.str_at(&["spec", "resources", "requests", "storage"]).parse().unwrap_or(Quantity::ZERO)
}

fn class_of(claim: &Object) -> &str {
    let old_name = claim.annotation("volume.beta.kubernetes.io/storage-class");
    old_name.unwrap_or_else(|| claim.str_at(&["spec", "storageClassName"]))
}

fn check(new: &Object, old: &Object, class: Option<&Object>) -> Result<(), &'static str> {
    if size(new) <= size(old) {
        return Ok(());
    }
    if old.str_at(&["status", "phase"]) != "Bound" {
        return Err("Only bound persistent volume claims can be expanded");
    }
    let same = !class_of(new).is_empty() && class_of(new) == class_of(old);
    if same && class.is_some_and(|class| class.bool_at(&["allowVolumeExpansion"])) {
        return Ok(());
    }
    Err(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    )
}

#[cfg(test)]
mod tests {
    use apimachinery::{Value, value};

    use super::*;

    #[test]
    fn only_bound_claims_of_growing_classes_grow() {
        let object = |tree: Value| Object::try_from(tree).unwrap();
        let claim = |size: &str, class: &str, phase: &str| {
            object(value!({
                "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}},
                "status": {"phase": phase},
            }))
        };
        let class = |grows: bool| object(value!({"allowVolumeExpansion": grows}));
        let old = claim("1Gi", "c", "Bound");
        assert!(check(&claim("1024Mi", "c", "Bound"), &old, None).is_ok());
        assert!(check(&claim("2Gi", "c", "Bound"), &old, Some(&class(true))).is_ok());
        assert!(
            check(&claim("2Gi", "c", "Bound"), &old, Some(&class(false))).unwrap_err().contains("must support resize")
        );
        assert!(check(&claim("2Gi", "", "Bound"), &claim("1Gi", "", "Bound"), None).is_err());
        let pending = claim("1Gi", "c", "Pending");
        assert!(
            check(&claim("2Gi", "c", "Pending"), &pending, Some(&class(true))).unwrap_err().starts_with("Only bound")
        );
    }
}
