//! `AlwaysPullImages`: no pod runs an image its pull secrets do not give access to, only because a node has it.

use apimachinery::field::FieldError;
use apimachinery::{Object, Status, Value};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
const ALWAYS: &str = "Always";

pub(super) const PLUGIN: Plugin = Plugin {
    name: "AlwaysPullImages",
    by_default: false,
    handles: |attributes| {
        attributes.is("", "pods")
            && attributes.operation != Operation::Delete
            && matches!(attributes.info.subresource.as_str(), "" | "ephemeralcontainers")
    },
    mutate: Some(mutate),
    validate: Some(validate),
};

fn mutate<'a>(attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    if let Some(pod) = attributes.object.as_deref_mut().filter(|pod| has_new_image(pod, attributes.old)) {
        always_pull(pod);
    }
    futures::future::ready(Ok(())).boxed()
}

fn validate<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let pod = attributes.object.as_deref().filter(|pod| has_new_image(pod, attributes.old));
    let outcome = match pod.and_then(lazy_container) {
        Some((path, policy)) => {
            Err(attributes.forbidden(FieldError::not_supported(format!("{path}.imagePullPolicy"), policy, &[ALWAYS])))
        }
        None => Ok(()),
    };
    futures::future::ready(outcome).boxed()
}

fn images(pod: &Object) -> Vec<&str> {
    LISTS.iter().flat_map(|list| pod.list_at(&["spec", list])).map(|container| container.str("image")).collect()
}

/// A pod that exists may be changed in other respects whatever its policies are.
fn has_new_image(pod: &Object, old: Option<&Object>) -> bool {
    old.is_none_or(|old| {
        let known = images(old);
        images(pod).iter().any(|image| !known.contains(image))
    })
}

fn always_pull(pod: &mut Object) {
    for list in LISTS {
        for container in pod.at_mut(&["spec", list]).and_then(Value::as_list_mut).into_iter().flatten() {
            container.set_at(&["imagePullPolicy"], ALWAYS);
        }
    }
    for volume in pod.at_mut(&["spec", "volumes"]).and_then(Value::as_list_mut).into_iter().flatten() {
        if volume.get("image").is_some_and(|image| !image.is_null()) {
            volume.set_at(&["image", "pullPolicy"], ALWAYS);
        }
    }
}

/// The first container that might not pull, and its policy.
fn lazy_container(pod: &Object) -> Option<(String, &str)> {
    LISTS.iter().find_map(|list| {
        let containers = pod.list_at(&["spec", list]).iter().map(|container| container.str("imagePullPolicy"));
        let (index, policy) = containers.enumerate().find(|(_, policy)| *policy != ALWAYS)?;
        Some((format!("spec.{list}[{index}]"), policy))
    })
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    #[test]
    fn every_image_is_pulled() {
        let mut pod = Object::try_from(value!({"spec": {
            "initContainers": [{"image": "i", "imagePullPolicy": "Never"}],
            "containers": [{"image": "a"}],
            "volumes": [{"image": {"reference": "x"}}, {"emptyDir": {}}],
        }}))
        .unwrap();
        assert_eq!(lazy_container(&pod).unwrap(), ("spec.initContainers[0]".to_owned(), "Never"));
        let old = pod.clone();
        always_pull(&mut pod);
        assert_eq!(lazy_container(&pod), None);
        assert_eq!(pod.str_at(&["spec", "volumes", "0", "image", "pullPolicy"]), ALWAYS);
        assert!(has_new_image(&pod, None));
        assert!(!has_new_image(&pod, Some(&old)));
    }
}
