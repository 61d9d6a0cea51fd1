//! One container of a pod, as the runtime is asked for it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use cri::api::{
    ContainerConfig, ContainerMetadata, ImageSpec, KeyValue, LinuxContainerConfig, Mount, MountPropagation,
};
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};

use super::expansion::expand;
use super::{environment, identity, resources, security};
use crate::paths::container_log_path;

/// Everything beside the pod's own text that a container is made from.
#[derive(Debug, Clone, Default)]
pub struct Making {
    /// How often this container was started before.
    pub attempt: u32,
    /// The reference of the image on this node.
    pub image: String,
    /// The finished environment.
    pub environment: Vec<KeyValue>,
    /// Where each volume lies on the node.
    pub volumes: BTreeMap<String, PathBuf>,
    /// The hosts file of the pod.
    pub hosts_file: PathBuf,
    /// The file that becomes the termination message.
    pub termination_file: PathBuf,
    /// Where seccomp profiles of the node lie.
    pub seccomp_root: PathBuf,
    /// The memory of the node, in bytes.
    pub memory_capacity: i64,
}

/// Why a container cannot be described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// A mount names a volume that the pod does not have.
    #[error("volume {name:?} is not part of the pod")]
    Volume {
        /// The name in the mount.
        name: String,
    },
    /// A path inside a volume leads out of it.
    #[error("subPath {path:?} must stay inside the volume")]
    SubPath {
        /// The path as written.
        path: String,
    },
}

/// The runtime's description of a container.
pub fn config(pod: &Pod, container: &Container, making: &Making) -> Result<ContainerConfig, ContainerError> {
    Ok(ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: making.attempt }),
        image: Some(ImageSpec {
            image: making.image.clone(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: environment::expand_all(container.command.as_ref(), &making.environment),
        args: environment::expand_all(container.args.as_ref(), &making.environment),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: making.environment.clone(),
        mounts: mounts(container, making)?,
        labels: identity::container_labels(pod, &container.name),
        annotations: annotations(pod, container, making),
        log_path: container_log_path(&container.name, making.attempt),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(LinuxContainerConfig {
            resources: Some(resources::of_container(pod, container, making.memory_capacity)),
            security_context: Some(security::of_container(pod, container, &making.seccomp_root)),
        }),
        ..Default::default()
    })
}

fn annotations(pod: &Pod, container: &Container, making: &Making) -> HashMap<String, String> {
    let policy = container.termination_message_policy.clone().unwrap_or_else(|| "File".to_owned());
    [
        (identity::CONTAINER_HASH, identity::container_hash(container)),
        (identity::RESTART_COUNT, making.attempt.to_string()),
        (identity::TERMINATION_MESSAGE_PATH, making.termination_file.display().to_string()),
        (identity::TERMINATION_MESSAGE_POLICY, policy),
        (identity::GRACE_PERIOD, identity::grace_period(pod).to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn mounts(container: &Container, making: &Making) -> Result<Vec<Mount>, ContainerError> {
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        mounts.push(volume_mount(mount, making)?);
    }
    let taken = |path: &str| container.volume_mounts.iter().flatten().any(|mount| mount.mount_path == path);
    if !taken("/etc/hosts") && !making.hosts_file.as_os_str().is_empty() {
        mounts.push(bind(&making.hosts_file, "/etc/hosts"));
    }
    let message = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    if !message.is_empty() && !making.termination_file.as_os_str().is_empty() {
        mounts.push(bind(&making.termination_file, message));
    }
    Ok(mounts)
}

fn bind(host: &Path, container: &str) -> Mount {
    Mount { host_path: host.display().to_string(), container_path: container.to_owned(), ..Default::default() }
}

/// Whether a volume shows what the API holds: containers must not write to it.
pub fn is_shown_by_api(pod: &Pod, volume: &str) -> bool {
    let volume = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).find(|own| own.name == volume);
    volume.is_some_and(|own| {
        own.config_map.is_some() || own.secret.is_some() || own.downward_api.is_some() || own.projected.is_some()
    })
}

fn volume_mount(mount: &VolumeMount, making: &Making) -> Result<Mount, ContainerError> {
    let volume = making.volumes.get(&mount.name).ok_or_else(|| ContainerError::Volume { name: mount.name.clone() })?;
    let host_path = match sub_path(mount, &making.environment)? {
        Some(path) => volume.join(path),
        None => volume.clone(),
    };
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => MountPropagation::PropagationBidirectional,
        _ => MountPropagation::PropagationPrivate,
    };
    let container_path =
        if mount.mount_path.starts_with('/') { mount.mount_path.clone() } else { format!("/{}", mount.mount_path) };
    Ok(Mount {
        container_path,
        host_path: host_path.display().to_string(),
        readonly: mount.read_only.unwrap_or(false),
        propagation: propagation as i32,
        ..Default::default()
    })
}

/// The part of a volume that a mount wants, with references replaced.
pub fn sub_path(mount: &VolumeMount, environment: &[KeyValue]) -> Result<Option<PathBuf>, ContainerError> {
    let lookup =
        |name: &str| environment.iter().find(|variable| variable.key == name).map(|variable| variable.value.clone());
    let path = match (&mount.sub_path, &mount.sub_path_expr) {
        (Some(path), _) if !path.is_empty() => path.clone(),
        (_, Some(expression)) if !expression.is_empty() => expand(expression, lookup),
        _ => return Ok(None),
    };
    let inside = Path::new(&path)
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir));
    if inside { Ok(Some(PathBuf::from(path))) } else { Err(ContainerError::SubPath { path }) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::sandbox::tests::pod;

    fn making() -> Making {
        Making {
            attempt: 3,
            image: "sha256:abc".to_owned(),
            environment: vec![KeyValue { key: "WHO".to_owned(), value: "me".to_owned() }],
            volumes: [("v".to_owned(), PathBuf::from("/vol"))].into(),
            hosts_file: "/p/etc-hosts".into(),
            termination_file: "/p/message".into(),
            ..Making::default()
        }
    }

    #[test]
    fn commands_mounts_and_marks_are_filled_in() {
        let pod = pod(json!({"containers": [{
            "name": "c", "image": "busybox:1", "command": ["echo", "$(WHO)"],
            "volumeMounts": [{"name": "v", "mountPath": "/data", "subPathExpr": "x/$(WHO)", "readOnly": true}],
        }]}));
        let config = config(&pod, &identity::containers(&pod)[0], &making()).unwrap();
        assert_eq!(config.command, ["echo", "me"]);
        let paths: Vec<_> = config
            .mounts
            .iter()
            .map(|mount| (mount.host_path.as_str(), mount.container_path.as_str(), mount.readonly))
            .collect();
        assert_eq!(
            paths,
            [
                ("/vol/x/me", "/data", true),
                ("/p/etc-hosts", "/etc/hosts", false),
                ("/p/message", "/dev/termination-log", false)
            ]
        );
        assert_eq!(config.log_path, "c/3.log");
        assert_eq!(config.annotations[identity::RESTART_COUNT], "3");
    }

    #[test]
    fn paths_out_of_a_volume_are_refused() {
        for path in ["../x", "/etc", "a/../../b"] {
            let mount = VolumeMount {
                name: "v".to_owned(),
                mount_path: "/d".to_owned(),
                sub_path: Some(path.to_owned()),
                ..Default::default()
            };
            assert!(matches!(sub_path(&mount, &[]), Err(ContainerError::SubPath { .. })), "{path}");
        }
    }
}
