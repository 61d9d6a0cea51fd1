//! Names: of pods, and of the labels and annotations that tie sandboxes and containers to them.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use sha2::{Digest, Sha256};

/// Label: name of the pod.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: namespace of the pod.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: uid of the pod.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: name of the container.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation: what the container was made from, to see changes.
pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
/// Annotation: how often the container was started again.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: where on the host the termination message is written.
pub const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: where the termination message comes from.
pub const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: how long the pod may take to end.
pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Annotation of pods: where the kubelet had the pod from.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// Annotation of pods: the hash of the static pod.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Annotation of pods: the hash of the static pod that this API object mirrors.
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// Annotation of pods: when the kubelet first saw the pod.
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";

/// The uid of a pod.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The name of a pod.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// The namespace of a pod.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// Name and namespace as people write them in messages.
pub fn full_name(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether the pod comes from a file on this node.
pub fn is_static(pod: &Pod) -> bool {
    annotation(pod, CONFIG_SOURCE).is_some_and(|source| source != "api") && !is_mirror(pod)
}

/// Whether the pod is the API server's picture of a static pod.
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, CONFIG_MIRROR).is_some()
}

/// The hash a static pod or its mirror carries.
pub fn config_hash(pod: &Pod) -> Option<&str> {
    annotation(pod, CONFIG_MIRROR).or_else(|| annotation(pod, CONFIG_HASH))
}

/// Whether the pod shares the network of the node.
pub fn host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}

/// The restart policy, `Always` if none is given.
pub fn restart_policy(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
}

/// Whether an init container keeps running beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The containers of the pod that run together at last.
pub fn containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map_or(&[], |spec| spec.containers.as_slice())
}

/// The containers that run before, one after another.
pub fn init_containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default()
}

/// The container of this name among all of the pod.
pub fn find_container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    init_containers(pod).iter().chain(containers(pod)).find(|container| container.name == name)
}

/// The labels that select everything of one pod.
pub fn selector(uid: &str) -> HashMap<String, String> {
    [(POD_UID.to_owned(), uid.to_owned())].into()
}

/// The labels of a sandbox: the pod's own and the ones that identify it.
pub fn sandbox_labels(pod: &Pod) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    labels.extend(identity_labels(pod));
    labels
}

/// The labels of a container.
pub fn container_labels(pod: &Pod, container: &str) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = identity_labels(pod).into();
    labels.insert(CONTAINER_NAME.to_owned(), container.to_owned());
    labels
}

fn identity_labels(pod: &Pod) -> [(String, String); 3] {
    [
        (POD_NAME.to_owned(), name(pod).to_owned()),
        (POD_NAMESPACE.to_owned(), namespace(pod).to_owned()),
        (POD_UID.to_owned(), uid(pod).to_owned()),
    ]
}

/// The part of a container that forces a new one when it changes. Only the image of a running pod may change,
/// so nothing else is hashed: a kubelet that learns a new field must not restart what runs.
pub fn container_hash(container: &Container) -> String {
    let mut hash = Sha256::new();
    hash.update(container.name.as_bytes());
    hash.update([0]);
    hash.update(container.image.as_deref().unwrap_or_default().as_bytes());
    hex::encode(&hash.finalize()[..4])
}

/// How long a pod may take to end.
pub fn grace_period(pod: &Pod) -> i64 {
    let of_deletion = pod.metadata.deletion_timestamp.as_ref().and(pod.metadata.deletion_grace_period_seconds);
    of_deletion
        .or_else(|| pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds))
        .unwrap_or(30)
        .max(0)
}
