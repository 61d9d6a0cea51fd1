//! The simulated API: it answers if its machine has all that an API server needs, and forgets everything with its disk.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;

use super::{Content, Disk, State, World};
use crate::desired::{Addons, MANIFEST_MARK};
use crate::world::{Burden, ClusterApi, Drain, NodeMark, Report, SeenCluster};

/// What a control plane does not work without.
const NEEDED: [&str; 6] = [
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/etc/kubernetes/pki/ca.crt",
    "/etc/kubernetes/pki/apiserver.crt",
    "/etc/kubernetes/pki/apiserver-etcd-client.key",
    "/etc/kubernetes/pki/etcd/ca.crt",
    "/etc/kubernetes/pki/sa.key",
];

#[async_trait]
impl ClusterApi for World {
    async fn survey(&self) -> SeenCluster {
        let seen = self.point("look at the API", |state| {
            let servers = servers(state);
            let Ok(content) = content(state) else { return Ok(SeenCluster::default()) };
            let (addons, verified) = (content.record.get("addons").cloned(), content.record.get("verified").cloned());
            let marked = content.nodes.iter().filter(|(_, labels)| labels.contains_key("provision.dev/machine"));
            let marked_nodes = marked.map(|(name, _)| name.clone()).collect();
            let nodes = content.nodes.keys().cloned().collect();
            let ready_nodes = running_kubelets(state).collect();
            Ok(SeenCluster { ready: true, addons, verified, marked_nodes, ready_nodes, nodes, servers })
        });
        seen.await.unwrap_or_default()
    }

    async fn wait_server(&self, machine: &str) -> Result<()> {
        self.point(format!("{machine}: wait for the API server"), |state| {
            serves(state, machine).map_err(|why| anyhow::anyhow!("the API server of {machine} does not answer: {why}"))
        })
        .await
    }

    async fn wait_static_pods(&self, machine: &str, marks: &BTreeMap<String, String>) -> Result<()> {
        self.point(format!("{machine}: wait for the static pods"), |state| {
            let disk = super::host::disk(state, machine)?;
            for (pod, mark) in marks {
                let path = format!("/etc/kubernetes/manifests/{}.yaml", pod.trim_end_matches(&format!("-{machine}")));
                let (_, manifest) = disk.files.get(&path).with_context(|| format!("there is no {path}"))?;
                let marked = String::from_utf8_lossy(manifest).contains(&format!("{MANIFEST_MARK}: \"{mark}\"\n"));
                ensure!(marked && disk.kubelet.is_some(), "{pod} runs with another manifest");
            }
            serves(state, machine).map_err(|why| anyhow::anyhow!("the API server of {machine} does not answer: {why}"))
        })
        .await
    }

    async fn install(&self, addons: &Addons) -> Result<()> {
        for object in &addons.objects {
            let name = format!("{}/{}", object["kind"], object["metadata"]["name"]).replace('"', "");
            self.change(format!("API: apply {name}"), |state| {
                content(state)?.objects.insert(name.clone(), object.clone());
                Ok(())
            })
            .await?;
        }
        self.record("addons", &addons.hash).await
    }

    async fn mark_node(&self, mark: &NodeMark) -> Result<()> {
        self.change(format!("API: label {}", mark.name), |state| {
            ensure!(running_kubelets(state).any(|name| name == mark.name), "Node {} does not come", mark.name);
            content(state)?.nodes.insert(mark.name.clone(), mark.labels.clone());
            Ok(())
        })
        .await
    }

    async fn wait_node(&self, name: &str, boot: &str) -> Result<()> {
        self.point(format!("wait for Node {name}"), |state| {
            content(state)?;
            ensure!(boot == super::host::BOOT_ID, "Node {name} tells of another boot than {boot}");
            ensure!(running_kubelets(state).any(|node| node == name), "Node {name} does not come");
            Ok(())
        })
        .await
    }

    async fn wait_first_pod(&self) -> Result<()> {
        self.point("wait for the first pod", |state| {
            ensure!(content(state)?.objects.keys().any(|name| name.starts_with("DaemonSet/")), "there are no pods");
            Ok(())
        })
        .await
    }

    async fn wait_addons(&self) -> Result<()> {
        self.point("wait for the add-ons", |state| {
            ensure!(content(state)?.record.contains_key("addons"), "there are no add-ons");
            Ok(())
        })
        .await
    }

    async fn mark_verified(&self, hash: &str) -> Result<()> {
        self.record("verified", hash).await
    }

    async fn burdens(&self) -> BTreeMap<String, Burden> {
        let looked = self.point("look at what Nodes carry", |state| {
            let stuck = state.stuck.clone();
            let content = content(state)?;
            let burden = |name: &String| Burden {
                cordoned: content.cordoned.contains(name),
                stuck: stuck.get(name).copied().unwrap_or_default(),
            };
            Ok(content.nodes.keys().map(|name| (name.clone(), burden(name))).collect())
        });
        looked.await.unwrap_or_default()
    }

    async fn drain(&self, node: &str, how: Drain, report: Report<'_>) -> Result<()> {
        self.change(format!("API: cordon {node}"), |state| {
            let content = content(state)?;
            if content.nodes.contains_key(node) {
                content.cordoned.insert(node.to_owned());
            }
            Ok(())
        })
        .await?;
        report("1 pod to move".to_owned());
        self.point(format!("API: evict the pods of {node}"), |state| {
            content(state)?;
            let stuck = state.stuck.get(node).copied().unwrap_or_default();
            ensure!(stuck == 0 || how.force, "Node {node} is not empty: {stuck} pods are kept by a budget");
            Ok(())
        })
        .await
    }

    async fn delete_node(&self, name: &str) -> Result<()> {
        self.change(format!("API: delete Node {name}"), |state| {
            ensure!(
                !running_kubelets(state).any(|node| node == name),
                "the kubelet of {name} would make its Node anew"
            );
            state.stuck.remove(name);
            let content = content(state)?;
            content.nodes.remove(name);
            content.cordoned.remove(name);
            Ok(())
        })
        .await
    }
}

impl World {
    async fn record(&self, key: &str, hash: &str) -> Result<()> {
        self.change(format!("API: record {key}"), |state| {
            content(state)?.record.insert(key.to_owned(), hash.to_owned());
            Ok(())
        })
        .await
    }

    /// Somebody lets no new pods onto the Node.
    pub(crate) fn cordon(&self, node: &str) {
        let mut state = self.state();
        content(&mut state).expect("the API answers").cordoned.insert(node.to_owned());
    }

    /// So many pods on the Node would not move.
    pub(crate) fn let_stick(&self, node: &str, pods: usize) {
        self.state().stuck.insert(node.to_owned(), pods);
    }

    /// The address of the API's Service.
    pub(super) fn resolve(state: &mut State) -> Result<String> {
        let objects = &content(state)?.objects;
        let dns = objects.get("Service/kube-dns").context("there is no DNS")?;
        ensure!(objects.contains_key("Deployment/cluster-dns"), "there is no DNS server");
        Ok(dns["spec"]["clusterIP"].to_string())
    }
}

/// What etcd keeps, if any API server answers; Nodes whose kubelets run have made themselves known.
fn content(state: &mut State) -> Result<&mut Content> {
    let running: Vec<String> = running_kubelets(state).collect();
    let servers = servers(state);
    ensure!(!servers.is_empty(), "no API server answers");
    let content = &mut state.agreed()?.content;
    for name in running {
        content.nodes.entry(name).or_default();
    }
    Ok(content)
}

/// Machines whose API server answers.
fn servers(state: &mut State) -> BTreeSet<String> {
    let names: Vec<String> = state.machines.keys().cloned().collect();
    names.into_iter().filter(|name| serves(state, name).is_ok()).collect()
}

fn serves(state: &mut State, machine: &str) -> Result<(), String> {
    let no = |error: anyhow::Error| format!("{error:#}");
    let disk = super::host::disk(state, machine).map_err(no)?;
    can_serve(disk)?;
    let stacked = disk.files.contains_key("/etc/kubernetes/manifests/etcd.yaml");
    state.start_members().map_err(no)?;
    let member = super::host::disk(state, machine).map_err(no)?.member;
    let cluster = state.agreed().map_err(no)?;
    let votes = member.and_then(|id| cluster.members.get(&id)).is_some_and(|member| !member.learner);
    if stacked && !votes { Err("the etcd beside it has no vote".to_owned()) } else { Ok(()) }
}

fn can_serve(disk: &Disk) -> Result<(), String> {
    if disk.kubelet.is_none() {
        return Err("no kubelet runs its pod".to_owned());
    }
    for path in NEEDED {
        let Some((_, text)) = disk.files.get(path) else { return Err(format!("there is no {path}")) };
        let text = String::from_utf8_lossy(text);
        let image = text.lines().find_map(|line| line.trim().strip_prefix("image: "));
        if let Some(image) = image.filter(|image| !disk.images.contains(*image)) {
            return Err(format!("the image {image} was not imported"));
        }
    }
    Ok(())
}

/// Nodes whose kubelet runs.
fn running_kubelets(state: &State) -> impl Iterator<Item = String> {
    let running = state
        .machines
        .iter()
        .filter(|(_, machine)| machine.on && machine.disk.as_ref().is_some_and(|disk| disk.kubelet.is_some()));
    running.map(|(name, _)| name.clone())
}
