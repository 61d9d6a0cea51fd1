//! `PodTopologyLabels`: a pod learns the zone and region of its node as labels of its own.

use apimachinery::{Object, Status};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};

const COPIED: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub(super) const PLUGIN: Plugin = Plugin {
    name: "PodTopologyLabels",
    by_default: true,
    handles: |attributes| {
        let bound = attributes.operation == Operation::Update && attributes.info.subresource == "binding";
        attributes.is("", "pods") && (bound || attributes.is_new_pod())
    },
    mutate: Some(mutate),
    validate: None,
};

fn mutate<'a>(attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let registry = &attributes.app.registry;
    if let Some(pod) = attributes.object.as_deref_mut() {
        let name = pod.str_at(&["spec", "nodeName"]);
        let node = if name.is_empty() { None } else { registry.get("", "nodes", "", name) };
        if let Some(node) = node {
            copy(pod, &node.object());
        }
    }
    futures::future::ready(Ok(())).boxed()
}

fn copy(pod: &mut Object, node: &Object) {
    for key in COPIED {
        if let Some(value) = node.label(key) {
            pod.set_label(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    #[test]
    fn only_zone_and_region_are_copied() {
        let labels = value!({"topology.kubernetes.io/zone": "a", "kubernetes.io/hostname": "n"});
        let node = Object::try_from(value!({"metadata": {"labels": (labels)}})).unwrap();
        let mut pod = Object::try_from(value!({"metadata": {"labels": {"app": "web"}}})).unwrap();
        copy(&mut pod, &node);
        let expected = value!({"app": "web", "topology.kubernetes.io/zone": "a"});
        assert_eq!(pod.at(&["metadata", "labels"]), Some(&expected));
    }
}
