//! The cluster's API through kube.

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Config, ResourceExt as _};

use super::{ClusterApi, NodeMark, SeenCluster};
use crate::desired::Addons;

/// How often an API that does not listen yet is asked: there is no event to wait for.
const RETRY: Duration = Duration::from_millis(100);
/// How long a look at the API may take.
const GLANCE: Duration = Duration::from_secs(5);
/// How long an emulated machine may take to start a control plane, or a Node to become Ready.
const PATIENCE: Duration = Duration::from_mins(5);
/// Names the add-ons that were installed last, and those that were seen at work.
const RECORD: &str = "provision";
const SYSTEM: &str = "kube-system";
const FIELD_MANAGER: &str = "provision";

/// The real API, reached with the administrator's kubeconfig.
pub struct KubeApi {
    kubeconfig: String,
}

impl KubeApi {
    /// Connects only when asked something.
    pub fn new(kubeconfig: &str) -> Self {
        Self { kubeconfig: kubeconfig.to_owned() }
    }

    /// A client with the rights of the administrator.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig).context("the cluster's kubeconfig cannot be read")?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        Client::try_from(config.context("the cluster's kubeconfig cannot be used")?)
            .context("cannot make an API client")
    }

    async fn ready(client: &Client) -> bool {
        let request = http::Request::get("/readyz").body(Vec::new()).expect("a constant request is valid");
        tokio::time::timeout(GLANCE, client.request_text(request)).await.is_ok_and(|answer| answer.is_ok())
    }

    async fn look(&self) -> Result<SeenCluster> {
        let client = self.client().await?;
        if !Self::ready(&client).await {
            return Ok(SeenCluster::default());
        }
        let records: Api<ConfigMap> = Api::namespaced(client.clone(), SYSTEM);
        let nodes: Api<Node> = Api::all(client);
        let everything = ListParams::default();
        let (record, nodes) = tokio::join!(records.get_opt(RECORD), nodes.list(&everything));
        let mut record = record?.and_then(|record| record.data).unwrap_or_default();
        let nodes = nodes?.items;
        let names = |wanted: fn(&Node) -> bool| {
            nodes.iter().filter(|node| wanted(node)).map(kube::ResourceExt::name_any).collect()
        };
        Ok(SeenCluster {
            ready: true,
            addons: record.remove("addons"),
            verified: record.remove("verified"),
            ready_nodes: names(is_ready),
            marked_nodes: names(|node| node.labels().contains_key("provision.dev/machine")),
        })
    }
}

#[async_trait]
impl ClusterApi for KubeApi {
    async fn survey(&self) -> SeenCluster {
        match tokio::time::timeout(GLANCE, self.look()).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(error)) => {
                tracing::debug!("the API does not answer: {error:#}");
                SeenCluster::default()
            }
            Err(_) => SeenCluster::default(),
        }
    }

    async fn wait_ready(&self) -> Result<()> {
        let client = self.client().await?;
        let poll = async {
            while !Self::ready(&client).await {
                tokio::time::sleep(RETRY).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.with_context(|| {
            format!("the API server is not ready after {PATIENCE:?}; `provision ssh CLUSTER -- journalctl -u kubelet` says more")
        })
    }

    async fn install(&self, addons: &Addons) -> Result<()> {
        let client = self.client().await?;
        for object in &addons.objects {
            apply(&client, object).await?;
        }
        apply(&client, &record("addons", &addons.hash)).await
    }

    async fn mark_node(&self, mark: &NodeMark) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client().await?);
        wait_for_node(&nodes, &mark.name, |_| true).await?;
        let patch = serde_json::json!({ "metadata": { "labels": mark.labels } });
        let patched = nodes.patch(&mark.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map(drop).with_context(|| format!("cannot label Node {}", mark.name))
    }

    async fn wait_node(&self, name: &str) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client().await?);
        wait_for_node(&nodes, name, is_ready).await
    }

    async fn wait_first_pod(&self) -> Result<()> {
        let pods: Api<Pod> = Api::all(self.client().await?);
        let stream = watcher(pods, watcher::Config::default()).default_backoff().applied_objects();
        let mut stream = std::pin::pin!(stream);
        let wait = async {
            loop {
                match stream.try_next().await {
                    Ok(Some(pod)) if is_ordinary_and_runs(&pod) => return Ok(()),
                    Ok(Some(_)) => {}
                    Ok(None) => anyhow::bail!("the watch on pods ended"),
                    Err(error) => tracing::debug!("the watch on pods is restarted: {error}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.with_context(|| {
            format!("no pod runs after {PATIENCE:?}; `kubectl get pods -A` and `kubectl get events -A` say more")
        })?
    }

    async fn wait_addons(&self) -> Result<()> {
        let client = self.client().await?;
        let daemons: Api<DaemonSet> = Api::namespaced(client.clone(), SYSTEM);
        let deployments: Api<Deployment> = Api::namespaced(client, SYSTEM);
        let all = async {
            tokio::try_join!(wait_all(&daemons, daemon_is_available), wait_all(&deployments, deployment_is_available))
        };
        tokio::time::timeout(PATIENCE, all)
            .await
            .with_context(|| format!("the add-ons in {SYSTEM} are not available after {PATIENCE:?}; `kubectl -n {SYSTEM} get pods` says more"))?
            .map(drop)
    }

    async fn mark_verified(&self, hash: &str) -> Result<()> {
        apply(&self.client().await?, &record("verified", hash)).await
    }
}

/// One line of the record; applying it leaves the other lines alone.
fn record(key: &str, hash: &str) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": RECORD, "namespace": SYSTEM },
        "data": { key: hash },
    })
}

/// Creates the object, or changes what is there to be like it.
async fn apply(client: &Client, object: &serde_json::Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object.clone()).context("an add-on is not an object")?;
    let types = object.types.clone().context("an add-on has no kind")?;
    let kind = GroupVersionKind::try_from(&types).context("an add-on has no valid apiVersion")?;
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match object.metadata.namespace.as_deref() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object.name_any();
    let created = api
        .create(&PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }, &object)
        .await;
    let applied = match created {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            api.patch(&name, &params, &Patch::Merge(&object)).await
        }
        created => created,
    };
    applied.map(drop).with_context(|| format!("cannot install {} {name}", types.kind))
}

async fn wait_for_node(nodes: &Api<Node>, name: &str, wanted: fn(&Node) -> bool) -> Result<()> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let stream = watcher(nodes.clone(), config).default_backoff().applied_objects();
    let mut stream = std::pin::pin!(stream);
    let wait = async {
        loop {
            match stream.try_next().await {
                Ok(Some(node)) if wanted(&node) => return Ok(()),
                Ok(Some(_)) => {}
                Ok(None) => anyhow::bail!("the watch on Node {name} ended"),
                Err(error) => tracing::debug!("the watch on Node {name} is restarted: {error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.with_context(|| {
        format!("Node {name} is not as wanted after {PATIENCE:?}; `kubectl describe node {name}` says why")
    })?
}

async fn wait_all<K>(api: &Api<K>, available: fn(&K) -> bool) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default();
    let mut stream = std::pin::pin!(watcher(api.clone(), config).default_backoff());
    let mut waiting = std::collections::BTreeSet::new();
    let mut listed = false;
    loop {
        match stream.try_next().await {
            Ok(Some(watcher::Event::Apply(object) | watcher::Event::InitApply(object))) => {
                if available(&object) {
                    waiting.remove(&object.name_any());
                } else {
                    waiting.insert(object.name_any());
                }
            }
            Ok(Some(watcher::Event::Delete(object))) => {
                waiting.remove(&object.name_any());
            }
            Ok(Some(watcher::Event::InitDone)) => listed = true,
            Ok(Some(watcher::Event::Init)) => {}
            Ok(None) => anyhow::bail!("the watch on the add-ons ended"),
            Err(error) => tracing::debug!("the watch on the add-ons is restarted: {error}"),
        }
        if listed && waiting.is_empty() {
            return Ok(());
        }
    }
}

/// Whether a pod runs that the scheduler or a controller placed, rather than a file on its node.
fn is_ordinary_and_runs(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running") && !pod.annotations().contains_key("kubernetes.io/config.mirror")
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}

fn daemon_is_available(daemon: &DaemonSet) -> bool {
    daemon.status.as_ref().is_some_and(|status| {
        status.observed_generation >= daemon.metadata.generation
            && status.desired_number_scheduled > 0
            && status.number_available.unwrap_or(0) >= status.desired_number_scheduled
    })
}

fn deployment_is_available(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation && status.available_replicas.unwrap_or(0) >= wanted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
