//! The cluster's API through kube.

mod dial;
mod drain;
mod wait;

use std::collections::BTreeMap;
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

use dial::Dialer;
use wait::{daemon_is_available, deployment_is_available, is_ready, wait_all, wait_for_first_pod, wait_for_node};

use super::{ClusterApi, Drain, Infrastructure, NodeMark, Report, SeenCluster};
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
        Dialer::new(&self.infrastructure, self.control_planes.clone()).client(&self.kubeconfig).await
    }

    /// A client that talks to the API server of one machine and to no other.
    async fn client_of(&self, machine: &str) -> Result<Client> {
        Dialer::new(&self.infrastructure, vec![machine.to_owned()]).client(&self.kubeconfig).await
    }

    /// The machines whose API server is ready, each with a client for it.
    async fn servers(&self) -> BTreeMap<String, Client> {
        let ask = |machine: &String| {
            let machine = machine.clone();
            async move {
                let client = self.client_of(&machine).await.ok()?;
                Self::ready(&client).await.then_some((machine, client))
            }
        };
        join_all(self.control_planes.iter().map(ask)).await.into_iter().flatten().collect()
    }

    async fn ready(client: &Client) -> bool {
        let request = http::Request::get("/readyz").body(Vec::new()).expect("a constant request is valid");
        tokio::time::timeout(GLANCE, client.request_text(request)).await.is_ok_and(|answer| answer.is_ok())
    }

    async fn look(&self) -> Result<SeenCluster> {
        let servers = self.servers().await;
        let Some(client) = servers.values().next().cloned() else { return Ok(SeenCluster::default()) };
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
            servers: servers.into_keys().collect(),
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

    async fn wait_server(&self, machine: &str) -> Result<()> {
        let client = self.client_of(machine).await?;
        let poll = async {
            while !Self::ready(&client).await {
                tokio::time::sleep(RETRY).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.with_context(|| {
            format!("the API server of {machine} is not ready after {PATIENCE:?}; `provision ssh CLUSTER {machine} -- journalctl -u kubelet` says more")
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

    async fn drain(&self, node: &str, how: Drain, report: Report<'_>) -> Result<()> {
        drain::drain(&self.client().await?, node, how, report).await
    }

    async fn delete_node(&self, name: &str) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client().await?);
        match nodes.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => deleted.map(drop).with_context(|| format!("cannot delete Node {name}")),
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
