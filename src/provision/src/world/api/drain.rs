//! Empties a Node as `kubectl drain` does: cordon, evict through the eviction API, wait until the pods are gone. Where a budget
//! forbids an eviction, the next attempt comes when the budget or the pod has changed.

mod scene;

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, EvictParams, ListParams, Patch, PatchParams};
use kube::core::{Selector, SelectorExt as _};
use kube::{Client, ResourceExt as _};
use tokio::sync::watch;

use self::scene::Scene;
use super::plain;
use super::retry::patiently;
use crate::exit::{Exit, Refusal};
use crate::world::{Drain, Report};

/// How often a server that has no time for an eviction is asked again: it tells nobody when it has.
const RETRY: Duration = Duration::from_secs(1);
/// How long it may take to find out what blocks.
const GLANCE: Duration = Duration::from_secs(10);
/// Marks the pods that a kubelet made from files.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Cordons and empties the Node.
pub(super) async fn drain(client: &Client, name: &str, how: Drain, report: Report<'_>) -> Result<()> {
    let Some(node) = cordon(client, name).await? else { return Ok(()) };
    let pods = movable(client, name).await?;
    if pods.is_empty() {
        return Ok(());
    }
    refuse_bare(name, &pods, how)?;
    report(format!("{} pods to move", pods.len()));
    let (scene, seen) = watch::channel(Scene::default());
    let moved = async {
        let evicted = join_all(pods.iter().map(|pod| evict(client, pod, seen.clone()))).await;
        evicted.into_iter().collect::<Result<Vec<()>>>()?;
        // Where the kubelet is silent, nobody says that a pod has ended; its successor runs elsewhere.
        if is_silent(&node) { Ok(()) } else { wait_gone(&pods, seen.clone(), report).await }
    };
    let work = async {
        tokio::select! {
            ended = moved => ended,
            broken = scene::follow(client, name, &scene) => broken,
        }
    };
    let ended = match how.limit() {
        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
        None => Some(work.await),
    };
    let (why, blocking) = match ended {
        Some(Ok(())) => return Ok(()),
        Some(Err(error)) if !how.force => return Err(error),
        Some(Err(error)) => (format!("{error:#}"), blocking(client, name).await),
        None => (format!("Node {name} is not empty after {:?}", how.patience), blocking(client, name).await),
    };
    if how.force {
        report(format!("these go with the machine: {blocking}"));
        return Ok(());
    }
    Err(Refusal::new(Exit::Failed, format!("{why}: {blocking}"))
        .hint(
            "make room for the pods or change their PodDisruptionBudgets, then run the same command again, with a longer \
             --drain-timeout if they need time, or with --force to lose them; `kubectl uncordon` takes the Node back",
        )
        .into())
}

/// The Node as it is with the mark that keeps new pods away, if there is such a Node.
async fn cordon(client: &Client, node: &str) -> Result<Option<Node>> {
    let nodes: Api<Node> = Api::all(client.clone());
    let patch = serde_json::json!({ "spec": { "unschedulable": true } });
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    match patiently(|| nodes.patch(node, &params, &patch)).await {
        Ok(node) => Ok(Some(node)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(plain(error)).with_context(|| format!("cannot cordon Node {node}")),
    }
}

/// Its kubelet has not been heard of for so long that the controllers have given it up.
fn is_silent(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "Unknown")
}

/// The pods that have to move: not those of files and of `DaemonSet`s, which belong to the Node.
async fn movable(client: &Client, node: &str) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::all(client.clone());
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = patiently(|| pods.list(&on_node)).await;
    let pods = pods.map_err(plain).with_context(|| format!("cannot list the pods of Node {node}"))?;
    Ok(pods.items.into_iter().filter(moves).collect())
}

/// Whether the pod would have to move.
pub(super) fn moves(pod: &Pod) -> bool {
    let ended = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let daemon = pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet" && owner.controller == Some(true));
    !pod.annotations().contains_key(MIRROR) && !daemon && !matches!(ended, Some("Succeeded" | "Failed"))
}

/// Whether somebody starts the pod elsewhere.
pub(super) fn is_owned(pod: &Pod) -> bool {
    pod.owner_references().iter().any(|owner| owner.controller == Some(true))
}

/// A pod that nobody owns would not come back.
fn refuse_bare(node: &str, pods: &[Pod], how: Drain) -> Result<()> {
    let bare: Vec<String> = pods.iter().filter(|pod| !is_owned(pod)).map(full_name).collect();
    if bare.is_empty() || how.force {
        return Ok(());
    }
    let message = format!("Node {node} runs pods that nothing would start elsewhere: {}", bare.join(", "));
    Err(Refusal::new(Exit::Failed, message).hint("delete them, or give --force to lose them with the machine").into())
}

/// Asks until no budget forbids it, unless the pod goes by itself.
async fn evict(client: &Client, pod: &Pod, mut seen: watch::Receiver<Scene>) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    loop {
        // Before it is asked for: what changes while the answer is on its way must not be missed.
        let then = seen.borrow_and_update().outlook(pod);
        match pods.evict(&pod.name_any(), &EvictParams::default()).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(kube::Error::Api(status)) if names_budget(&status) => {
                let changed = seen.wait_for(|scene| scene.is_gone(pod) || scene.has_brightened(pod, &then)).await;
                if changed.context("nobody watches the budgets any more")?.is_gone(pod) {
                    return Ok(());
                }
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 429 | 502..=504) => tokio::time::sleep(RETRY).await,
            Err(kube::Error::HyperError(_) | kube::Error::Service(_)) => tokio::time::sleep(RETRY).await,
            Err(error) => return Err(plain(error)).with_context(|| format!("cannot evict {}", full_name(pod))),
        }
    }
}

/// Whether a request was refused for a budget, and not for want of time.
fn names_budget(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 429 && causes.into_iter().any(|cause| cause.reason == "DisruptionBudget")
}

/// Waits until none of the pods is on the Node any more.
async fn wait_gone(pods: &[Pod], mut seen: watch::Receiver<Scene>, report: Report<'_>) -> Result<()> {
    let mut told = String::new();
    loop {
        let left: Vec<String> = {
            let scene = seen.borrow_and_update();
            pods.iter().filter(|pod| !scene.is_gone(pod)).map(full_name).collect()
        };
        if left.is_empty() {
            return Ok(());
        }
        let left = left.join(", ");
        if left != told {
            report(format!("waits for {left}"));
            told = left;
        }
        seen.changed().await.context("nobody watches the pods any more")?;
    }
}

/// The pods that did not go, each with what keeps it.
async fn blocking(client: &Client, node: &str) -> String {
    let look = async {
        let budgets: Api<PodDisruptionBudget> = Api::all(client.clone());
        let everything = ListParams::default();
        let (pods, budgets) = tokio::join!(movable(client, node), budgets.list(&everything));
        let budgets = budgets.map(|list| list.items).unwrap_or_default();
        join_all(pods.unwrap_or_default().iter().map(|pod| keeps(client, pod, &budgets))).await
    };
    let reasons = tokio::time::timeout(GLANCE, look).await.unwrap_or_default();
    if reasons.is_empty() { "what blocks cannot be told".to_owned() } else { reasons.join("; ") }
}

/// A pod with what keeps it on its Node.
async fn keeps(client: &Client, pod: &Pod, budgets: &[PodDisruptionBudget]) -> String {
    let name = full_name(pod);
    if pod.metadata.deletion_timestamp.is_some() {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
        let held = pod.metadata.finalizers.as_ref().filter(|held| !held.is_empty());
        let held = held.map(|held| format!(", held by {}", held.join(", "))).unwrap_or_default();
        return format!("{name} is being deleted with {grace} s of grace{held}");
    }
    let covering: Vec<String> = budgets.iter().filter(|budget| covers(budget, pod)).map(described).collect();
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let post_options = kube::api::PostParams { dry_run: true, ..Default::default() };
    match api.evict(&pod.name_any(), &EvictParams { post_options, ..Default::default() }).await {
        Ok(_) => format!("{name} may be evicted now"),
        Err(_) if !covering.is_empty() => format!("{name} is kept by {}", covering.join(" and ")),
        Err(kube::Error::Api(status)) => format!("{name}: {}", status.message),
        Err(error) => format!("{name}: {error}"),
    }
}

/// Whether the budget is for this pod.
pub(super) fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
    let selector = selector.and_then(|selector| Selector::try_from(selector).ok());
    budget.namespace() == pod.namespace() && selector.is_some_and(|selector| selector.matches(pod.labels()))
}

fn described(budget: &PodDisruptionBudget) -> String {
    let (healthy, needed) =
        budget.status.as_ref().map_or((0, 0), |status| (status.current_healthy, status.desired_healthy));
    format!("PodDisruptionBudget {} ({healthy} healthy, {needed} needed)", budget.name_any())
}

fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

#[cfg(test)]
mod tests;
