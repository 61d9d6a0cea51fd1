//! `DefaultStorageClass`: a claim that names no class gets the default one.

use apimachinery::Status;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin, newest};

const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
/// How classes were named before they had a field.
const OLD_NAME: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) const PLUGIN: Plugin = Plugin {
    name: "DefaultStorageClass",
    by_default: true,
    handles: |attributes| {
        attributes.operation == Operation::Create
            && attributes.is("", "persistentvolumeclaims")
            && attributes.info.subresource.is_empty()
    },
    mutate: Some(mutate),
    validate: None,
};

fn mutate<'a>(attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let classes = attributes.app.registry.list("storage.k8s.io", "storageclasses", "");
    let classes = classes.iter().map(|class| class.object());
    let default = newest(classes.filter(|class| class.annotation(IS_DEFAULT) == Some("true")));
    if let (Some(claim), Some(default)) = (attributes.object.as_deref_mut(), default)
        && claim.at(&["spec", "storageClassName"]).is_none()
        && claim.annotation(OLD_NAME).is_none()
    {
        claim.set_at(&["spec", "storageClassName"], default.name());
    }
    futures::future::ready(Ok(())).boxed()
}
