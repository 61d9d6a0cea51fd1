//! Which node may see which object: from pods to what they mount.

use std::collections::{HashMap, HashSet};

use apimachinery::{Object, Value};

/// What pods lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Pod,
    Secret,
    ConfigMap,
    Claim,
    Volume,
    Attachment,
    ServiceAccount,
    ResourceClaim,
}

type Key = (Kind, String, String);

#[derive(Default)]
pub(super) struct Graph {
    /// Of each pod, volume and attachment: its node, if it has one, and what it leads to.
    sources: HashMap<Key, Source>,
    /// How many sources of a node lead to an object.
    nodes: HashMap<Key, HashMap<String, usize>>,
    /// The volumes bound to a claim or needing a secret.
    volumes: HashMap<Key, HashSet<String>>,
}

struct Source {
    node: String,
    leads_to: HashSet<Key>,
}

impl Graph {
    pub(super) fn put(&mut self, object: &Object) {
        match object.kind() {
            "Pod" => self.put_pod(object),
            "PersistentVolume" => self.put_volume(object),
            "VolumeAttachment" => {
                let key = (Kind::Attachment, String::new(), object.name().to_owned());
                self.set(key.clone(), object.str_at(&["spec", "nodeName"]), HashSet::from([key]));
            }
            _ => {}
        }
    }

    pub(super) fn remove(&mut self, resource: &str, namespace: &str, name: &str) {
        match resource {
            "pods" => self.unset(&(Kind::Pod, namespace.to_owned(), name.to_owned())),
            "volumeattachments" => self.unset(&(Kind::Attachment, String::new(), name.to_owned())),
            "persistentvolumes" => self.unset_volume(name),
            _ => {}
        }
    }

    /// Whether a node has to do with an object.
    pub(super) fn related(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let key = (kind, namespace.to_owned(), name.to_owned());
        let direct = |key: &Key| self.nodes.get(key).is_some_and(|nodes| nodes.contains_key(node));
        if direct(&key) {
            return true;
        }
        match kind {
            Kind::Volume => self.volume_claims(name).any(&direct),
            // A volume's secrets belong to whoever mounts its claim.
            Kind::Secret => {
                self.volumes.get(&key).into_iter().flatten().any(|volume| self.volume_claims(volume).any(&direct))
            }
            _ => false,
        }
    }

    fn volume_claims(&self, volume: &str) -> impl Iterator<Item = &Key> {
        let source = self.sources.get(&(Kind::Volume, String::new(), volume.to_owned()));
        source.into_iter().flat_map(|source| source.leads_to.iter()).filter(|key| key.0 == Kind::Claim)
    }

    fn put_pod(&mut self, pod: &Object) {
        let key = (Kind::Pod, pod.namespace().to_owned(), pod.name().to_owned());
        let node = pod.str_at(&["spec", "nodeName"]);
        let mut leads_to = HashSet::from([key.clone()]);
        // A mirror pod is written by its kubelet and must not give it anything.
        if pod.annotation("kubernetes.io/config.mirror").is_none() {
            pod_references(pod, &mut leads_to);
        }
        self.set(key, node, leads_to);
    }

    fn set(&mut self, key: Key, node: &str, leads_to: HashSet<Key>) {
        self.unset(&key);
        if node.is_empty() {
            return;
        }
        for target in &leads_to {
            *self.nodes.entry(target.clone()).or_default().entry(node.to_owned()).or_default() += 1;
        }
        self.sources.insert(key, Source { node: node.to_owned(), leads_to });
    }

    fn unset(&mut self, key: &Key) {
        let Some(source) = self.sources.remove(key) else {
            return;
        };
        for target in source.leads_to {
            let Some(nodes) = self.nodes.get_mut(&target) else {
                continue;
            };
            if let Some(count) = nodes.get_mut(&source.node) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(&source.node);
                }
            }
            if nodes.is_empty() {
                self.nodes.remove(&target);
            }
        }
    }

    fn put_volume(&mut self, volume: &Object) {
        self.unset_volume(volume.name());
        let mut leads_to = HashSet::new();
        let claim = volume.at(&["spec", "claimRef"]);
        let namespace = claim.map_or("", |claim| claim.str("namespace"));
        if let Some(claim) = claim {
            leads_to.insert((Kind::Claim, namespace.to_owned(), claim.str("name").to_owned()));
        }
        if let Some(spec) = volume.get("spec") {
            visit_secret_refs(spec, &mut |reference| {
                let namespace = Some(reference.str("namespace")).filter(|text| !text.is_empty()).unwrap_or(namespace);
                leads_to.insert((Kind::Secret, namespace.to_owned(), reference.str("name").to_owned()));
            });
        }
        for target in &leads_to {
            self.volumes.entry(target.clone()).or_default().insert(volume.name().to_owned());
        }
        let key = (Kind::Volume, String::new(), volume.name().to_owned());
        self.sources.insert(key, Source { node: String::new(), leads_to });
    }

    fn unset_volume(&mut self, name: &str) {
        let Some(source) = self.sources.remove(&(Kind::Volume, String::new(), name.to_owned())) else {
            return;
        };
        for target in source.leads_to {
            if let Some(volumes) = self.volumes.get_mut(&target) {
                volumes.remove(name);
                if volumes.is_empty() {
                    self.volumes.remove(&target);
                }
            }
        }
    }
}

/// Everything a pod's spec names.
fn pod_references(pod: &Object, found: &mut HashSet<Key>) {
    let namespace = pod.namespace();
    let mut add = |kind, name: &str| {
        if !name.is_empty() {
            found.insert((kind, namespace.to_owned(), name.to_owned()));
        }
    };
    add(Kind::ServiceAccount, pod.str_at(&["spec", "serviceAccountName"]));
    for secret in pod.list_at(&["spec", "imagePullSecrets"]) {
        add(Kind::Secret, secret.str("name"));
    }
    for field in ["containers", "initContainers", "ephemeralContainers"] {
        for container in pod.list_at(&["spec", field]) {
            container_references(container, &mut add);
        }
    }
    for volume in pod.list_at(&["spec", "volumes"]) {
        volume_references(pod.name(), volume, &mut add);
    }
    for claim in pod.list_at(&["spec", "resourceClaims"]) {
        add(Kind::ResourceClaim, claim.str("resourceClaimName"));
    }
    for claim in pod.list_at(&["status", "resourceClaimStatuses"]) {
        add(Kind::ResourceClaim, claim.str("resourceClaimName"));
    }
}

fn container_references(container: &Value, add: &mut impl FnMut(Kind, &str)) {
    let name = |value: &Value, path: &[&str]| value.at(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    for source in container.list("envFrom") {
        add(Kind::Secret, &name(source, &["secretRef", "name"]));
        add(Kind::ConfigMap, &name(source, &["configMapRef", "name"]));
    }
    for variable in container.list("env") {
        add(Kind::Secret, &name(variable, &["valueFrom", "secretKeyRef", "name"]));
        add(Kind::ConfigMap, &name(variable, &["valueFrom", "configMapKeyRef", "name"]));
    }
}

fn volume_references(pod: &str, volume: &Value, add: &mut impl FnMut(Kind, &str)) {
    let name = |value: &Value, path: &[&str]| value.at(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    add(Kind::Secret, &name(volume, &["secret", "secretName"]));
    add(Kind::Secret, &name(volume, &["azureFile", "secretName"]));
    add(Kind::ConfigMap, &name(volume, &["configMap", "name"]));
    add(Kind::Claim, &name(volume, &["persistentVolumeClaim", "claimName"]));
    if volume.get("ephemeral").is_some() {
        add(Kind::Claim, &format!("{pod}-{}", volume.str("name")));
    }
    for source in volume.at(&["projected", "sources"]).and_then(Value::as_list).unwrap_or_default() {
        add(Kind::Secret, &name(source, &["secret", "name"]));
        add(Kind::ConfigMap, &name(source, &["configMap", "name"]));
    }
    visit_secret_refs(volume, &mut |reference| {
        add(Kind::Secret, reference.str("name"));
    });
}

/// Calls back for `secretRef`, `nodePublishSecretRef` and the like in a volume source.
fn visit_secret_refs(source: &Value, found: &mut impl FnMut(&Value)) {
    let Some(fields) = source.as_map() else {
        return;
    };
    for driver in fields.values().filter_map(Value::as_map) {
        for (key, value) in driver.iter() {
            let key = key.as_str();
            if (key.ends_with("SecretRef") || key == "secretRef") && !key.starts_with("controller") {
                found(value);
            }
        }
    }
}
