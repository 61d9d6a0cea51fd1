//! Waits for objects to become what they should be: by a watch, never by asking again and again.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use futures::{Stream, TryStreamExt as _};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};

use super::{PATIENCE, RETRY};
use crate::desired::MANIFEST_MARK;

/// Waits until a pod runs that no kubelet made from a file.
pub(super) async fn wait_for_first_pod(pods: Api<Pod>) -> Result<()> {
    let mut stream = std::pin::pin!(watcher(pods, watcher::Config::default()).applied_objects());
    let wait = async {
        while !is_ordinary_and_runs(&next(&mut stream, "pods").await?) {}
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, wait).await.with_context(|| {
        format!("no pod runs after {PATIENCE:?}; `kubectl get pods -A` and `kubectl get events -A` say more")
    })?
}

/// Waits until the mirror of each pod has its mark and is ready; `pods` are asked of an API server that may be one of them.
pub(super) async fn wait_for_static_pods(
    pods: Api<Pod>,
    machine: &str,
    marks: &BTreeMap<String, String>,
) -> Result<()> {
    let config = watcher::Config::default().fields(&format!("spec.nodeName={machine}"));
    let mut stream = std::pin::pin!(watcher(pods, config).applied_objects());
    let mut missing = marks.clone();
    let wait = async {
        while !missing.is_empty() {
            let pod = next(&mut stream, "the pods of a machine").await?;
            let mark = pod.annotations().get(MANIFEST_MARK);
            if mark.is_some() && missing.get(&pod.name_any()) == mark && pod_is_ready(&pod) {
                missing.remove(&pod.name_any());
            }
        }
        Ok(())
    };
    let Ok(ended) = tokio::time::timeout(PATIENCE, wait).await else {
        let names = missing.into_keys().collect::<Vec<_>>().join(", ");
        anyhow::bail!(
            "{names} of {machine} did not take up the new configuration within {PATIENCE:?}; the machines after it were \
             not touched, and `provision logs {machine} kubelet` says more"
        );
    };
    ended
}

pub(super) async fn wait_for_node(nodes: &Api<Node>, name: &str, wanted: impl Fn(&Node) -> bool) -> Result<()> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut stream = std::pin::pin!(watcher(nodes.clone(), config).applied_objects());
    let wait = async {
        while !wanted(&next(&mut stream, "a Node").await?) {}
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, wait).await.with_context(|| {
        format!("Node {name} is not as wanted after {PATIENCE:?}; `kubectl describe node {name}` says why")
    })?
}

pub(super) async fn wait_all<K>(api: &Api<K>, available: fn(&K) -> bool) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default();
    let mut stream = std::pin::pin!(watcher(api.clone(), config));
    let mut waiting = std::collections::BTreeSet::new();
    let mut listed = false;
    loop {
        match next(&mut stream, "the add-ons").await? {
            watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                if available(&object) {
                    waiting.remove(&object.name_any());
                } else {
                    waiting.insert(object.name_any());
                }
            }
            watcher::Event::Delete(object) => {
                waiting.remove(&object.name_any());
            }
            watcher::Event::InitDone => listed = true,
            watcher::Event::Init => {}
        }
        if listed && waiting.is_empty() {
            return Ok(());
        }
    }
}

/// What a watch brings next. One that breaks is begun anew at once: servers come and go while a cluster comes to be.
pub(super) async fn next<T>(stream: &mut (impl Stream<Item = watcher::Result<T>> + Unpin), what: &str) -> Result<T> {
    loop {
        match stream.try_next().await {
            Ok(Some(item)) => return Ok(item),
            Ok(None) => anyhow::bail!("the watch on {what} ended"),
            Err(error) => {
                tracing::debug!("the watch on {what} is restarted: {error}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Whether a pod runs that the scheduler or a controller placed, rather than a file on its node.
pub(super) fn is_ordinary_and_runs(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running") && !pod.annotations().contains_key("kubernetes.io/config.mirror")
}

pub(super) fn pod_is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

pub(super) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}

/// Ready, as told by a kubelet of this boot of the machine.
pub(super) fn is_ready_since(node: &Node, boot: &str) -> bool {
    let told = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    told.is_some_and(|info| info.boot_id == boot) && is_ready(node)
}

pub(super) fn daemon_is_available(daemon: &DaemonSet) -> bool {
    daemon.status.as_ref().is_some_and(|status| {
        status.observed_generation >= daemon.metadata.generation
            && status.desired_number_scheduled > 0
            && status.number_available.unwrap_or(0) >= status.desired_number_scheduled
    })
}

pub(super) fn deployment_is_available(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation && status.available_replicas.unwrap_or(0) >= wanted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watch_that_breaks_is_begun_anew_and_one_that_ends_is_an_error() {
        let items = [Err(watcher::Error::NoResourceVersion), Err(watcher::Error::NoResourceVersion), Ok(7)];
        let mut stream = futures::stream::iter(items);
        assert_eq!(next(&mut stream, "pods").await.unwrap(), 7);
        assert_eq!(next(&mut stream, "pods").await.unwrap_err().to_string(), "the watch on pods ended");
    }

    #[test]
    fn what_a_node_said_before_its_machine_went_off_does_not_count() {
        let node = |boot: &str, ready: &str| -> Node {
            let conditions = [serde_json::json!({ "type": "Ready", "status": ready })];
            let status = serde_json::json!({ "nodeInfo": { "bootID": boot, "architecture": "amd64", "containerRuntimeVersion": "",
                "kernelVersion": "", "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "linux",
                "osImage": "", "systemUUID": "" }, "conditions": conditions });
            serde_json::from_value(serde_json::json!({ "metadata": { "name": "n" }, "status": status })).unwrap()
        };
        assert!(is_ready_since(&node("this", "True"), "this"));
        assert!(!is_ready_since(&node("last", "True"), "this"), "it was Ready before");
        assert!(!is_ready_since(&node("this", "False"), "this"), "it is back and not Ready");
        assert!(!is_ready_since(&Node::default(), ""), "a Node that never said anything");
    }

    #[test]
    fn mirrors_of_static_pods_and_pods_that_only_wait_do_not_count() {
        let check = |phase: &str, annotations: serde_json::Value, expected: bool| {
            let pod = serde_json::json!({ "metadata": { "name": "p", "annotations": annotations }, "status": { "phase": phase } });
            assert_eq!(is_ordinary_and_runs(&serde_json::from_value(pod).unwrap()), expected, "{phase} {annotations}");
        };
        check("Running", serde_json::json!({}), true);
        check("Pending", serde_json::json!({}), false);
        check("Running", serde_json::json!({ "kubernetes.io/config.mirror": "hash" }), false);
        assert!(!is_ordinary_and_runs(&Pod::default()));
    }
}
