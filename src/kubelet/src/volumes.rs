//! Volumes: what each kind puts into a folder of the node, and taking it away again.
//!
//! Setting up is repeated on every pass of the pod loop: what is as it should be is left alone, and changed
//! `ConfigMaps`, Secrets and tokens are exchanged atomically under the eyes of running containers.

pub mod atomic_writer;
pub mod empty_dir;
pub mod host_path;
pub mod mount;
pub mod payload;
pub mod projected;
pub mod sub_path;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Pod, Volume};
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterError};
use crate::paths::Paths;
use crate::pod::field::Facts;
use crate::pod::identity;
use payload::{Payload, PayloadError};

/// Why a volume is not there yet; the words end up in a `FailedMount` event.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// An object of the API could not be had.
    #[error("{0}")]
    Cluster(#[from] ClusterError),
    /// What the volume should hold cannot be made.
    #[error("{0}")]
    Payload(#[from] PayloadError),
    /// The path of the node is not of the kind asked for.
    #[error("hostPath type check failed: {path} is not {wanted}")]
    HostPath {
        /// The path.
        path: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// This kubelet does not offer that kind.
    #[error("volume kind is not supported")]
    Unsupported,
    /// The node's file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// A volume that could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {name:?} : {cause}")]
pub struct SetUpError {
    /// The name of the volume.
    pub name: String,
    /// What went wrong.
    pub cause: VolumeError,
}

/// The volumes of a pod as they lie on the node.
#[derive(Debug, Default)]
pub struct Mounted {
    /// The folder (or file) of each volume, by name.
    pub paths: BTreeMap<String, PathBuf>,
    /// When a token must be fetched anew.
    pub refresh_at: Option<Instant>,
}

/// What volumes are made with.
pub struct Workshop<'a> {
    /// Where files go.
    pub paths: &'a Paths,
    /// Where objects come from.
    pub cluster: &'a dyn Cluster,
    /// What the downward API tells.
    pub facts: &'a Facts,
}

/// Sets up every volume of the pod, or brings it up to date.
pub async fn set_up(pod: &Pod, workshop: &Workshop<'_>) -> Result<Mounted, SetUpError> {
    let mut mounted = Mounted::default();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let (path, refresh_at) =
            one(pod, volume, workshop).await.map_err(|cause| SetUpError { name: volume.name.clone(), cause })?;
        mounted.paths.insert(volume.name.clone(), path);
        mounted.refresh_at = mounted.refresh_at.into_iter().chain(refresh_at).min();
    }
    Ok(mounted)
}

type Placed = (PathBuf, Option<Instant>);

async fn one(pod: &Pod, volume: &Volume, workshop: &Workshop<'_>) -> Result<Placed, VolumeError> {
    let place = |plugin: &str| workshop.paths.volume(identity::uid(pod), plugin, &volume.name);
    let group = fs_group(pod);
    if let Some(source) = &volume.empty_dir {
        let path = place("empty-dir");
        return empty_dir::set_up(&path, source, group).map(|()| (path, None));
    }
    if let Some(source) = &volume.host_path {
        return host_path::set_up(source).map(|path| (path, None));
    }
    let namespace = identity::namespace(pod);
    if let Some(source) = &volume.config_map {
        let object = workshop.cluster.config_map(namespace, &source.name).await?;
        let payload = payload::config_map(object.as_deref(), &payload::Selection::of_config_map(source))?;
        return write(place("configmap"), payload, group, false).await.map(|path| (path, None));
    }
    if let Some(source) = &volume.secret {
        let selection = payload::Selection::of_secret(source);
        let object = workshop.cluster.secret(namespace, selection.name).await?;
        let payload = payload::secret(object.as_deref(), &selection)?;
        return write(place("secret"), payload, group, true).await.map(|path| (path, None));
    }
    if let Some(source) = &volume.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        let payload = payload::downward_api(pod, items, source.default_mode, workshop.facts)?;
        return write(place("downward-api"), payload, group, false).await.map(|path| (path, None));
    }
    if let Some(source) = &volume.projected {
        let (payload, refresh_at) = projected::payload(pod, source, workshop).await?;
        return write(place("projected"), payload, group, true).await.map(|path| (path, refresh_at));
    }
    Err(VolumeError::Unsupported)
}

/// The group that may share the pod's volumes.
fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

async fn write(path: PathBuf, payload: Payload, group: Option<u32>, in_memory: bool) -> Result<PathBuf, VolumeError> {
    let target = path.clone();
    let written = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&target)?;
        if in_memory {
            // Secrets never touch a disk.
            mount::tmpfs(&target, None)?;
        }
        atomic_writer::write(&target, &payload, group)
    });
    match written.await {
        Ok(Ok(_)) => Ok(path),
        Ok(Err(source)) => Err(VolumeError::Io { path, source }),
        Err(join) => Err(VolumeError::Io { path, source: std::io::Error::other(join) }),
    }
}

/// The names of the objects that a pod's volumes are made from: `ConfigMaps`, then Secrets.
pub fn references(pod: &Pod) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        config_maps.extend(volume.config_map.as_ref().map(|source| source.name.clone()));
        secrets.extend(volume.secret.as_ref().and_then(|source| source.secret_name.clone()));
        for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            config_maps.extend(source.config_map.as_ref().map(|source| source.name.clone()));
            secrets.extend(source.secret.as_ref().map(|source| source.name.clone()));
        }
    }
    (config_maps, secrets)
}

/// Takes away everything the pod had on the node's file system.
pub fn tear_down(paths: &Paths, uid: &str) -> std::io::Result<()> {
    let pod = paths.pod(uid);
    if uid.is_empty() || !pod.exists() {
        return Ok(());
    }
    mount::unmount_below(&pod)?;
    std::fs::remove_dir_all(&pod)
}
