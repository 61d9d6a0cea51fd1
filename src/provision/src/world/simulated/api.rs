//! The simulated API: it answers if its machine has all that an API server needs, and forgets everything with its disk.

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;

use super::{Disk, Etcd, State, World};
use crate::desired::Addons;
use crate::world::{ClusterApi, NodeMark, SeenCluster};

/// What a control plane does not work without.
const NEEDED: [&str; 6] = [
    "/etc/kubernetes/manifests/etcd.yaml",
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/etc/kubernetes/pki/ca.crt",
    "/etc/kubernetes/pki/apiserver.crt",
    "/etc/kubernetes/pki/etcd/server.key",
    "/etc/kubernetes/pki/sa.key",
];

#[async_trait]
impl ClusterApi for World {
    async fn survey(&self) -> SeenCluster {
        let seen = self.point("look at the API", |state| {
            let Ok(etcd) = self.etcd(state) else { return Ok(SeenCluster::default()) };
            let (addons, verified) = (etcd.record.get("addons").cloned(), etcd.record.get("verified").cloned());
            let marked = etcd.nodes.iter().filter(|(_, labels)| labels.contains_key("provision.dev/machine"));
            let marked_nodes = marked.map(|(name, _)| name.clone()).collect();
            Ok(SeenCluster { ready: true, addons, verified, marked_nodes, ready_nodes: nodes(state).collect() })
        });
        seen.await.unwrap_or_default()
    }

    async fn wait_ready(&self) -> Result<()> {
        self.point("wait for the API", |state| self.etcd(state).map(drop)).await
    }

    async fn install(&self, addons: &Addons) -> Result<()> {
        for object in &addons.objects {
            let name = format!("{}/{}", object["kind"], object["metadata"]["name"]).replace('"', "");
            self.change(format!("API: apply {name}"), |state| {
                self.etcd(state)?.objects.insert(name.clone(), object.clone());
                Ok(())
            })
            .await?;
        }
        self.record("addons", &addons.hash).await
    }

    async fn mark_node(&self, mark: &NodeMark) -> Result<()> {
        self.change(format!("API: label {}", mark.name), |state| {
            ensure!(nodes(state).any(|name| name == mark.name), "Node {} does not come", mark.name);
            self.etcd(state)?.nodes.insert(mark.name.clone(), mark.labels.clone());
            Ok(())
        })
        .await
    }

    async fn wait_node(&self, name: &str) -> Result<()> {
        self.point(format!("wait for Node {name}"), |state| {
            self.etcd(state)?;
            ensure!(nodes(state).any(|node| node == name), "Node {name} does not come");
            Ok(())
        })
        .await
    }

    async fn wait_first_pod(&self) -> Result<()> {
        self.point("wait for the first pod", |state| {
            ensure!(self.etcd(state)?.objects.keys().any(|name| name.starts_with("DaemonSet/")), "there are no pods");
            Ok(())
        })
        .await
    }

    async fn wait_addons(&self) -> Result<()> {
        self.point("wait for the add-ons", |state| {
            ensure!(self.etcd(state)?.record.contains_key("addons"), "there are no add-ons");
            Ok(())
        })
        .await
    }

    async fn mark_verified(&self, hash: &str) -> Result<()> {
        self.record("verified", hash).await
    }
}

impl World {
    async fn record(&self, key: &str, hash: &str) -> Result<()> {
        self.change(format!("API: record {key}"), |state| {
            self.etcd(state)?.record.insert(key.to_owned(), hash.to_owned());
            Ok(())
        })
        .await
    }

    /// What etcd has, if the API server answers.
    fn etcd<'a>(&self, state: &'a mut State) -> Result<&'a mut Etcd> {
        ensure!(state.forward, "nobody listens on the API's port of this host");
        let disk = super::host::disk(state, &self.control_plane)?;
        serves(disk).map_err(|why| anyhow::anyhow!("the API server does not answer: {why}"))?;
        Ok(&mut disk.etcd)
    }

    /// The address of the API's Service.
    pub(super) fn resolve(&self, state: &mut State) -> Result<String> {
        let objects = &self.etcd(state)?.objects;
        let dns = objects.get("Service/kube-dns").context("there is no DNS")?;
        ensure!(objects.contains_key("Deployment/cluster-dns"), "there is no DNS server");
        Ok(dns["spec"]["clusterIP"].to_string())
    }
}

fn serves(disk: &Disk) -> Result<(), String> {
    if disk.kubelet.is_none() {
        return Err("no kubelet runs its pod".to_owned());
    }
    for path in NEEDED {
        let Some((_, content)) = disk.files.get(path) else { return Err(format!("there is no {path}")) };
        let text = String::from_utf8_lossy(content);
        let image = text.lines().find_map(|line| line.trim().strip_prefix("image: "));
        if let Some(image) = image.filter(|image| !disk.images.contains(*image)) {
            return Err(format!("the image {image} was not imported"));
        }
    }
    Ok(())
}

/// Nodes whose kubelet runs.
fn nodes(state: &State) -> impl Iterator<Item = String> {
    let running = state
        .machines
        .iter()
        .filter(|(_, machine)| machine.on && machine.disk.as_ref().is_some_and(|disk| disk.kubelet.is_some()));
    running.map(|(name, _)| name.clone())
}
