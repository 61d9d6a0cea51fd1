//! Empties a Node as `kubectl drain` does: cordon, evict through the eviction API, wait until the pods are gone.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, EvictParams, ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};

use super::plain;
use crate::exit::{Exit, Refusal};
use crate::world::{Drain, Report};

/// How often an eviction that a budget forbids is asked for again: budgets change without an event that we could wait for.
const RETRY: Duration = Duration::from_secs(1);
/// Marks the pods that a kubelet made from files.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Cordons and empties the Node.
pub(super) async fn drain(client: &Client, node: &str, how: Drain, report: Report<'_>) -> Result<()> {
    if !cordon(client, node).await? {
        return Ok(());
    }
    let pods = movable(client, node).await?;
    if pods.is_empty() {
        return Ok(());
    }
    refuse_bare(node, &pods, how)?;
    report(format!("{} pods to move", pods.len()));
    let evictions = async {
        join_all(pods.iter().map(|pod| evict(client, pod))).await.into_iter().collect::<Result<Vec<()>>>()?;
        wait_gone(client, node, &pods, report).await
    };
    match tokio::time::timeout(how.patience, evictions).await {
        Ok(moved) => moved,
        Err(_) => Err(blocked(client, node, how.patience).await),
    }
}

/// Whether there is such a Node.
async fn cordon(client: &Client, node: &str) -> Result<bool> {
    let nodes: Api<Node> = Api::all(client.clone());
    let patch = serde_json::json!({ "spec": { "unschedulable": true } });
    match nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(plain(error)).with_context(|| format!("cannot cordon Node {node}")),
    }
}

/// The pods that have to move: not those of files and of `DaemonSet`s, which belong to the Node.
async fn movable(client: &Client, node: &str) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::all(client.clone());
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods =
        pods.list(&on_node).await.map_err(plain).with_context(|| format!("cannot list the pods of Node {node}"))?;
    Ok(pods.items.into_iter().filter(moves).collect())
}

fn moves(pod: &Pod) -> bool {
    let ended = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let daemon = pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet" && owner.controller == Some(true));
    !pod.annotations().contains_key(MIRROR) && !daemon && !matches!(ended, Some("Succeeded" | "Failed"))
}

/// A pod that nobody owns would not come back.
fn refuse_bare(node: &str, pods: &[Pod], how: Drain) -> Result<()> {
    let owned = |pod: &&Pod| pod.owner_references().iter().any(|owner| owner.controller == Some(true));
    let bare: Vec<String> = pods.iter().filter(|pod| !owned(pod)).map(full_name).collect();
    if bare.is_empty() || how.force {
        return Ok(());
    }
    let message = format!("Node {node} runs pods that nothing would start elsewhere: {}", bare.join(", "));
    Err(Refusal::new(Exit::Failed, message).hint("delete them, or give --force to lose them with the machine").into())
}

/// Asks until no budget forbids it.
async fn evict(client: &Client, pod: &Pod) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    loop {
        match pods.evict(&pod.name_any(), &EvictParams::default()).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 429 => tokio::time::sleep(RETRY).await,
            Err(error) => return Err(plain(error)).with_context(|| format!("cannot evict {}", full_name(pod))),
        }
    }
}

/// Waits until none of the pods is on the Node any more.
async fn wait_gone(client: &Client, node: &str, pods: &[Pod], report: Report<'_>) -> Result<()> {
    let api: Api<Pod> = Api::all(client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut stream = std::pin::pin!(watcher(api, config).default_backoff());
    let mut left: BTreeMap<String, String> =
        pods.iter().map(|pod| (pod.uid().unwrap_or_default(), full_name(pod))).collect();
    let mut present = Vec::new();
    while !left.is_empty() {
        match stream.try_next().await {
            Ok(Some(watcher::Event::Init)) => present.clear(),
            Ok(Some(watcher::Event::InitApply(pod))) => present.extend(pod.uid()),
            Ok(Some(watcher::Event::InitDone)) => left.retain(|uid, _| present.contains(uid)),
            Ok(Some(watcher::Event::Delete(pod))) => {
                left.remove(&pod.uid().unwrap_or_default());
            }
            Ok(Some(watcher::Event::Apply(_))) => continue,
            Ok(None) => anyhow::bail!("the watch on the pods of Node {node} ended"),
            Err(error) => tracing::debug!("the watch on the pods of Node {node} is restarted: {error}"),
        }
        report(format!("waits for {}", left.values().cloned().collect::<Vec<_>>().join(", ")));
    }
    Ok(())
}

/// Says which pods did not go, and what keeps them.
async fn blocked(client: &Client, node: &str, patience: Duration) -> anyhow::Error {
    let mut reasons = Vec::new();
    for pod in movable(client, node).await.unwrap_or_default() {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let why = if pod.metadata.deletion_timestamp.is_some() {
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
            format!("is being deleted with {grace} s of grace")
        } else {
            let dry = EvictParams {
                post_options: kube::api::PostParams { dry_run: true, ..Default::default() },
                ..Default::default()
            };
            match pods.evict(&pod.name_any(), &dry).await {
                Err(kube::Error::Api(status)) => status.message.clone(),
                Err(error) => error.to_string(),
                Ok(_) => "may be evicted now".to_owned(),
            }
        };
        reasons.push(format!("{}: {why}", full_name(&pod)));
    }
    let message = format!("Node {node} is not empty after {patience:?}: {}", reasons.join("; "));
    Refusal::new(Exit::Failed, message)
        .hint("make room for the pods or change their PodDisruptionBudgets, then run the same command again; `kubectl uncordon` takes the Node back")
        .into()
}

fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}
