//! Every node has a part of the cluster's range for its pods.

use std::collections::HashSet;

use controller_runtime::{ObjectKey, Requeue, WorkQueue};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::config::NodeRange;
use crate::ownership::is_deleting;
use crate::scope::Scope;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("the range {0} has no free part left for another node")]
    Full(IpNet),
}

pub(super) async fn run(scope: Scope) {
    if scope.config.node_ranges.is_empty() {
        return tracing::info!("node ranges are not allocated: --allocate-node-cidrs is not set");
    }
    let queue = WorkQueue::new("node-ipam");
    Scope::feed(&scope.stores.nodes, &queue);
    scope.stores.nodes.synced().await;
    let reconciling = scope.clone();
    let given = std::sync::Arc::new(tokio::sync::Mutex::new(HashSet::new()));
    // One worker: two must not choose the same part.
    scope.work(queue, 1, move |key| reconcile(reconciling.clone(), std::sync::Arc::clone(&given), key)).await;
}

/// Parts that were given and may not be in the store yet, by node.
type Given = std::sync::Arc<tokio::sync::Mutex<HashSet<(String, IpNet)>>>;

async fn reconcile(scope: Scope, given: Given, key: ObjectKey) -> Result<Requeue, Error> {
    let mut given = given.lock().await;
    let Some(node) = scope.stores.nodes.get(&key).filter(|node| !is_deleting(node.as_ref())) else {
        given.retain(|(name, _)| *name != key.name);
        return Ok(Requeue::No);
    };
    if !parts(&node).is_empty() {
        given.retain(|(name, _)| *name != key.name);
        return Ok(Requeue::No);
    }
    let mut taken: HashSet<IpNet> = scope.stores.nodes.list().iter().flat_map(|node| parts(node)).collect();
    taken.extend(given.iter().filter(|(name, _)| *name != key.name).map(|(_, part)| *part));
    let chosen = scope
        .config
        .node_ranges
        .iter()
        .map(|range| choose(range, &taken).ok_or(Error::Full(range.range)))
        .collect::<Result<Vec<_>, _>>()?;
    given.extend(chosen.iter().map(|part| (key.name.clone(), *part)));
    let patch = json!({"metadata": {"uid": node.metadata.uid}, "spec": {"podCIDR": chosen[0], "podCIDRs": chosen}});
    let nodes: Api<Node> = Api::all(scope.client.clone());
    nodes.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    tracing::info!(node = key.name, parts = ?chosen, "gave the node its range");
    Ok(Requeue::No)
}

fn parts(node: &Node) -> Vec<IpNet> {
    let spec = node.spec.as_ref();
    let all = spec
        .and_then(|spec| spec.pod_cidrs.clone())
        .or_else(|| spec.and_then(|spec| spec.pod_cidr.clone()).map(|one| vec![one]));
    all.into_iter().flatten().filter_map(|text| text.parse().ok()).collect()
}

/// The first part of a range that overlaps no taken one.
fn choose(range: &NodeRange, taken: &HashSet<IpNet>) -> Option<IpNet> {
    let overlaps = |part: &IpNet| taken.iter().any(|other| other.contains(part) || part.contains(other));
    range.range.subnets(range.node_prefix).ok()?.find(|part| !taken.contains(part) && !overlaps(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(range: &str, prefix: u8, taken: &[&str]) -> Option<String> {
        let range = NodeRange { range: range.parse().unwrap(), node_prefix: prefix };
        choose(&range, &taken.iter().map(|part| part.parse().unwrap()).collect()).map(|part| part.to_string())
    }

    #[test]
    fn the_first_free_part_is_given() {
        assert_eq!(chosen("10.244.0.0/16", 24, &[]).as_deref(), Some("10.244.0.0/24"));
        assert_eq!(chosen("10.244.0.0/16", 24, &["10.244.0.0/24", "10.244.2.0/24"]).as_deref(), Some("10.244.1.0/24"));
    }

    #[test]
    fn a_part_of_another_size_is_not_overlapped() {
        assert_eq!(chosen("10.244.0.0/16", 24, &["10.244.0.0/23"]).as_deref(), Some("10.244.2.0/24"));
        assert_eq!(chosen("10.244.0.0/16", 23, &["10.244.1.0/24"]).as_deref(), Some("10.244.2.0/23"));
    }

    #[test]
    fn a_full_range_gives_nothing() {
        assert_eq!(chosen("10.244.0.0/23", 24, &["10.244.0.0/24", "10.244.1.0/24"]), None);
    }
}
