//! The cluster's API through kube.

mod burden;
mod drain;
mod retry;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use futures::future::join_all;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::{Client, ResourceExt as _};

use tokio::time::Instant;

use retry::patiently;
use wait::{
    daemon_is_available, deployment_is_available, is_ready, is_ready_since, wait_all, wait_for_first_pod,
    wait_for_node, wait_for_static_pods,
};

use super::dial::Dialer;
use super::{Burden, ClusterApi, Drain, Infrastructure, NodeMark, Report, SeenCluster};
use crate::desired::{API_PORT, Addons};

/// How often an API that does not listen yet is asked: there is no event to wait for.
const RETRY: Duration = Duration::from_millis(100);
/// How long a server that answers may go on saying that it is not ready: our own logins on all machines at once keep small
/// ones busy for seconds.
const GLANCE: Duration = Duration::from_secs(20);
/// How long a server may take to answer once it is connected to: an emulated machine that has just come back, and is asked
/// by everybody at once, needs seconds for a handshake. One that is off is found out when it is dialled.
const ANSWER: Duration = Duration::from_secs(30);
/// How long an emulated machine may take to start a control plane, or a Node to become Ready.
const PATIENCE: Duration = Duration::from_mins(5);
/// Names the add-ons that were installed last, and those that were seen at work.
const RECORD: &str = "provision";
const SYSTEM: &str = "kube-system";
const FIELD_MANAGER: &str = "provision";

/// The real API, reached with the administrator's kubeconfig and by the machines of the control plane.
pub struct KubeApi {
    kubeconfig: String,
    infrastructure: Arc<dyn Infrastructure>,
    control_planes: Vec<String>,
}

impl KubeApi {
    /// Connects only when asked something.
    pub fn new(kubeconfig: &str, infrastructure: Arc<dyn Infrastructure>, control_planes: Vec<String>) -> Self {
        Self { kubeconfig: kubeconfig.to_owned(), infrastructure, control_planes }
    }

    /// A client with the rights of the administrator.
    pub async fn client(&self) -> Result<Client> {
        Dialer::new(&self.infrastructure, API_PORT, self.control_planes.clone()).client(&self.kubeconfig).await
    }

    /// A client that talks to the API server of one machine and to no other.
    async fn client_of(&self, machine: &str) -> Result<Client> {
        Dialer::new(&self.infrastructure, API_PORT, vec![machine.to_owned()]).client(&self.kubeconfig).await
    }

    /// The machines whose API server is ready. None of them is waited for longer than [`ANSWER`]: one may hang.
    async fn servers(&self) -> BTreeSet<String> {
        let ask = async |machine: &String| {
            let asked = async { self.becomes_ready(&self.client_of(machine).await?).await };
            match tokio::time::timeout(ANSWER, asked).await {
                Ok(Ok(ready)) => ready.then(|| machine.clone()),
                Ok(Err(error)) => {
                    tracing::debug!(machine, "its API server cannot be asked: {error:#}");
                    None
                }
                Err(_) => {
                    tracing::debug!(machine, "its API server has not answered within {ANSWER:?}");
                    None
                }
            }
        };
        join_all(self.control_planes.iter().map(ask)).await.into_iter().flatten().collect()
    }

    /// Whether a server is ready within [`GLANCE`]: one that is busy may fail a check that it passes a moment later.
    async fn becomes_ready(&self, client: &Client) -> Result<bool> {
        let since = Instant::now();
        while !Self::ready(client).await? {
            if since.elapsed() > GLANCE {
                tracing::debug!("its API server has not been ready for {GLANCE:?}");
                return Ok(false);
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(true)
    }

    /// Whether a server says that it is ready; an error if there is none to ask.
    async fn ready(client: &Client) -> Result<bool, kube::Error> {
        let request = http::Request::get("/readyz").body(Vec::new()).expect("a constant request is valid");
        match client.request_text(request).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What the servers that are ready say; they all say the same.
    async fn look(&self, servers: BTreeSet<String>) -> Result<SeenCluster> {
        let dialer = Dialer::new(&self.infrastructure, API_PORT, servers.iter().cloned().collect());
        let client = dialer.client(&self.kubeconfig).await?;
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
            nodes: names(|_| true),
            servers,
        })
    }
}

#[async_trait]
impl ClusterApi for KubeApi {
    async fn survey(&self) -> SeenCluster {
        let servers = self.servers().await;
        if servers.is_empty() {
            return SeenCluster::default();
        }
        match tokio::time::timeout(ANSWER, self.look(servers)).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(error)) => {
                tracing::debug!("the API does not answer: {error:#}");
                SeenCluster::default()
            }
            Err(_) => {
                tracing::debug!("the API has not said what there is within {ANSWER:?}");
                SeenCluster::default()
            }
        }
    }

    async fn wait_server(&self, machine: &str) -> Result<()> {
        let client = self.client_of(machine).await?;
        let poll = async {
            while !matches!(tokio::time::timeout(ANSWER, Self::ready(&client)).await, Ok(Ok(true))) {
                tokio::time::sleep(RETRY).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.with_context(|| {
            format!("the API server of {machine} is not ready after {PATIENCE:?}; `provision logs {machine} kubelet` says more")
        })
    }

    async fn wait_static_pods(&self, machine: &str, marks: &BTreeMap<String, String>) -> Result<()> {
        let pods = Api::namespaced(self.client_of(machine).await?, SYSTEM);
        wait_for_static_pods(pods, machine, marks).await
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
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = patiently(|| nodes.patch(&mark.name, &params, &patch)).await;
        patched.map(drop).map_err(plain).with_context(|| format!("cannot label Node {}", mark.name))
    }

    async fn wait_node(&self, name: &str, boot: &str) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client().await?);
        wait_for_node(&nodes, name, |node| is_ready_since(node, boot)).await
    }

    async fn wait_first_pod(&self) -> Result<()> {
        wait_for_first_pod(Api::all(self.client().await?)).await
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

    async fn burdens(&self) -> BTreeMap<String, Burden> {
        let look = async { burden::burdens(&self.client().await?).await };
        match tokio::time::timeout(ANSWER, look).await {
            Ok(Ok(burdens)) => burdens,
            Ok(Err(error)) => {
                tracing::debug!("what Nodes carry cannot be told: {error:#}");
                BTreeMap::new()
            }
            Err(_) => BTreeMap::new(),
        }
    }

    async fn drain(&self, node: &str, how: Drain, report: Report<'_>) -> Result<()> {
        drain::drain(&self.client().await?, node, how, report).await
    }

    async fn delete_node(&self, name: &str) -> Result<()> {
        let gone = DeleteParams::default();
        let nodes: Api<Node> = Api::all(self.client().await?);
        match patiently(|| nodes.delete(name, &gone)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => deleted.map(drop).map_err(plain).with_context(|| format!("cannot delete Node {name}")),
        }
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
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let created = patiently(|| api.create(&params, &object)).await;
    let applied = match created {
        // A Service that is there already is refused for its address, which it has itself, before its name is looked at.
        Err(kube::Error::Api(refused)) if refused.code == 409 || refused.code == 422 => {
            let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            let patch = Patch::Merge(&object);
            match patiently(|| api.patch(&name, &params, &patch)).await {
                Err(kube::Error::Api(missing)) if missing.code == 404 => Err(kube::Error::Api(refused)),
                patched => patched,
            }
        }
        created => created,
    };
    applied.map(drop).map_err(plain).with_context(|| format!("cannot install {} {name}", types.kind))
}

/// What the API said, once; the client's own words repeat it with all their fields.
fn plain(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("the API says: {} ({})", status.message, status.code),
        other => other.into(),
    }
}
