//! Static pods: one pod in each file of a folder, followed with inotify.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use k8s_openapi::api::core::v1::{Pod, Toleration};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::pod::identity;

/// The static pods of this node by uid.
pub type StaticPods = BTreeMap<String, Arc<Pod>>;

/// Why a file is no pod.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It could not be read.
    #[error("cannot be read")]
    Read(#[source] io::Error),
    /// It is not YAML, or not that of a pod.
    #[error("{0}")]
    Parse(String),
    /// It is not a pod with a name and containers.
    #[error("{0}")]
    Pod(&'static str),
}

/// Follows a folder; the receiver always shows its present pods.
pub fn follow(folder: PathBuf, node_name: String) -> watch::Receiver<StaticPods> {
    let (sender, receiver) = watch::channel(read_all(&folder, &node_name));
    tokio::spawn(async move {
        if let Err(error) = run(&folder, &node_name, &sender).await {
            tracing::error!(folder = %folder.display(), %error, "static pods are no longer followed");
        }
    });
    receiver
}

async fn run(folder: &Path, node_name: &str, sender: &watch::Sender<StaticPods>) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let inotify = Inotify::init()?;
    let mask = WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::MOVED_FROM | WatchMask::DELETE;
    inotify.watches().add(folder, mask)?;
    let mut events = inotify.into_event_stream(vec![0; 4096])?;
    loop {
        // A file may have changed between the first look and the watch.
        let pods = read_all(folder, node_name);
        sender.send_if_modified(|present| {
            let changed = present.keys().ne(pods.keys());
            if changed {
                *present = pods;
            }
            changed
        });
        match events.next().await {
            Some(event) => drop(event?),
            None => return Ok(()),
        }
    }
}

fn read_all(folder: &Path, node_name: &str) -> StaticPods {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_manifest(path)).collect();
    paths.sort();
    let mut pods = StaticPods::new();
    for path in paths {
        match read(&path, node_name) {
            Ok(pod) => drop(pods.insert(identity::uid(&pod).to_owned(), Arc::new(pod))),
            Err(error) => tracing::error!(path = %path.display(), error = %format_chain(&error), "not a static pod"),
        }
    }
    pods
}

fn format_chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    !hidden && path.is_file()
}

fn read(path: &Path, node_name: &str) -> Result<Pod, ManifestError> {
    let text = std::fs::read_to_string(path).map_err(ManifestError::Read)?;
    parse(&text, &path.display().to_string(), node_name)
}

/// Reads a manifest and completes it: name, uid, source and node.
pub fn parse(text: &str, origin: &str, node_name: &str) -> Result<Pod, ManifestError> {
    let value: serde_json::Value =
        serde_saphyr::from_str(text).map_err(|error| ManifestError::Parse(error.to_string()))?;
    if value.get("kind").and_then(serde_json::Value::as_str) != Some("Pod") {
        return Err(ManifestError::Pod("kind is not Pod"));
    }
    let mut pod: Pod =
        serde_json::from_value(value.clone()).map_err(|error| ManifestError::Parse(error.to_string()))?;
    let Some(name) = pod.metadata.name.clone().filter(|name| !name.is_empty()) else {
        return Err(ManifestError::Pod("metadata.name is missing"));
    };
    let Some(spec) = pod.spec.as_mut().filter(|spec| !spec.containers.is_empty()) else {
        return Err(ManifestError::Pod("spec.containers is empty"));
    };
    let uid = hash(&value, origin, node_name);
    spec.node_name = Some(node_name.to_owned());
    let tolerate = Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    };
    spec.tolerations.get_or_insert_default().push(tolerate);
    spec.automount_service_account_token = Some(false);
    pod.metadata.name = Some(format!("{name}-{}", node_name.to_lowercase()));
    pod.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(identity::CONFIG_SOURCE.to_owned(), "file".to_owned());
    annotations.insert(identity::CONFIG_HASH.to_owned(), uid.clone());
    annotations.insert(identity::CONFIG_SEEN.to_owned(), k8s_openapi::jiff::Timestamp::now().to_string());
    pod.metadata.uid = Some(uid);
    pod.status = None;
    Ok(pod)
}

/// The same manifest in the same place on the same node is the same pod, whatever restarts in between.
fn hash(value: &serde_json::Value, origin: &str, node_name: &str) -> String {
    let mut hash = Sha256::new();
    for part in [node_name, origin, &value.to_string()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: etcd\n  namespace: kube-system\nspec:\n  containers:\n  - name: etcd\n    image: etcd:1\n";

    #[test]
    fn a_manifest_becomes_a_pod_of_this_node() {
        let pod = parse(MANIFEST, "/m/etcd.yaml", "n1").unwrap();
        assert_eq!((identity::name(&pod), identity::namespace(&pod)), ("etcd-n1", "kube-system"));
        assert!(identity::is_static(&pod));
        assert_eq!(identity::config_hash(&pod), pod.metadata.uid.as_deref());
        let again = parse(MANIFEST, "/m/etcd.yaml", "n1").unwrap();
        assert_eq!(again.metadata.uid, pod.metadata.uid);
        let other = parse(&MANIFEST.replace("etcd:1", "etcd:2"), "/m/etcd.yaml", "n1").unwrap();
        assert_ne!(other.metadata.uid, pod.metadata.uid);
    }

    #[test]
    fn what_is_no_pod_is_refused() {
        for text in
            ["kind: Service", "kind: Pod\nmetadata: {name: a}", "kind: Pod\nspec: {containers: [{name: c}]}", "]["]
        {
            assert!(parse(text, "x", "n").is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn changes_of_the_folder_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let mut pods = follow(folder.path().to_owned(), "n1".to_owned());
        assert!(pods.borrow_and_update().is_empty());
        // The watch is set by a task of its own; its first look finds whatever was written before.
        std::fs::write(folder.path().join(".hidden"), MANIFEST).unwrap();
        std::fs::write(folder.path().join("etcd.yaml"), MANIFEST).unwrap();
        pods.wait_for(|pods| pods.len() == 1).await.unwrap();
        std::fs::remove_file(folder.path().join("etcd.yaml")).unwrap();
        pods.wait_for(BTreeMap::is_empty).await.unwrap();
    }
}
