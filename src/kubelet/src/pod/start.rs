//! Starting one container: image, environment, mounts, creation, start, hook.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cri::api::{KeyValue, PodSandboxConfig};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};

use super::backoff::Backoff;
use super::container::{self, Making};
use super::environment::{self, Objects};
use super::field::Facts;
use super::image::{self, Present};
use super::observed::Observed;
use super::status::Waiting;
use super::{identity, security};
use crate::cluster::ClusterError;
use crate::node_context::{NodeContext, reference};
use crate::probe::ask::{self, Target};
use crate::volumes::sub_path;

/// The pod that a container is started in.
pub struct Place<'a> {
    /// The node.
    pub node: &'a NodeContext,
    /// The pod.
    pub pod: &'a Pod,
    /// What is seen of it.
    pub observed: &'a Observed,
    /// The id of its sandbox.
    pub sandbox: String,
    /// The configuration of its sandbox.
    pub sandbox_config: &'a PodSandboxConfig,
    /// Its volumes.
    pub volumes: &'a BTreeMap<String, PathBuf>,
    /// What the downward API tells.
    pub facts: &'a Facts,
}

/// Starts a container; the error is why it waits.
pub async fn start(place: &Place<'_>, container: &Container, backoff: &mut Backoff) -> Result<(), Waiting> {
    let node = place.node;
    let image = image::ensure(node, place.pod, container, place.sandbox_config, backoff).await?;
    let about = reference(place.pod, Some(format!("spec.containers{{{}}}", container.name)));
    let failed = |reason: &str, message: String| {
        node.reporter.report(&about, true, "Failed", &format!("Error: {message}"));
        Waiting::new(reason, message)
    };
    let config =
        describe(place, container, &image).await.map_err(|message| failed("CreateContainerConfigError", message))?;
    discard_unstarted(place, container).await;
    let created = node.runtime.create_container(place.sandbox.clone(), config, place.sandbox_config.clone()).await;
    let id = created.map_err(|error| failed("CreateContainerError", error.to_string()))?;
    node.reporter.report(&about, false, "Created", &format!("Created container: {}", container.name));
    if let Err(error) = node.runtime.start_container(id.clone()).await {
        return Err(failed("RunContainerError", error.to_string()));
    }
    node.reporter.report(&about, false, "Started", &format!("Started container {}", container.name));
    link_log(place, container, &id);
    discard_old(place, container).await;
    after_start(place, container, &id).await
}

async fn describe(
    place: &Place<'_>,
    container: &Container,
    image: &Present,
) -> Result<cri::api::ContainerConfig, String> {
    security::verify_user(place.pod, container, image.uid, &image.user).map_err(|error| error.to_string())?;
    let objects = objects(place, container).await.map_err(|error| error.to_string())?;
    let environment =
        environment::environment(place.pod, container, &objects, place.facts).map_err(|error| error.to_string())?;
    let attempt = place.observed.latest(&container.name).map_or(0, |seen| seen.attempt() + u32::from(seen.exited()));
    let files = place.node.paths.container(identity::uid(place.pod), &container.name);
    let termination_file = files.join(format!("{attempt}-message"));
    std::fs::create_dir_all(&files).map_err(|error| error.to_string())?;
    std::fs::write(&termination_file, b"").map_err(|error| error.to_string())?;
    // Whatever user the container runs as may leave a message.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(&termination_file, open).map_err(|error| error.to_string())?;
    let mut making = Making {
        attempt,
        image: image.reference.clone(),
        environment,
        volumes: place.volumes.clone(),
        hosts_file: place.node.paths.hosts_file(identity::uid(place.pod)),
        termination_file,
        seccomp_root: place.node.seccomp_root.clone(),
        memory_capacity: place.node.offer.memory_capacity,
    };
    let container = mount_sub_paths(place, container, &mut making)?;
    container::config(place.pod, &container, &making).map_err(|error| error.to_string())
}

/// Parts of volumes become mounts of their own; the container is then described as if they were whole volumes.
fn mount_sub_paths(place: &Place<'_>, container: &Container, making: &mut Making) -> Result<Container, String> {
    let mut container = container.clone();
    for (index, mount) in container.volume_mounts.iter_mut().flatten().enumerate() {
        if container::is_shown_by_api(place.pod, &mount.name) {
            mount.read_only = Some(true);
        }
        let environment: &[KeyValue] = &making.environment;
        let Some(part) = container::sub_path(mount, environment).map_err(|error| error.to_string())? else {
            continue;
        };
        let Some(volume) = making.volumes.get(&mount.name) else {
            continue;
        };
        let target = place
            .node
            .paths
            .pod(identity::uid(place.pod))
            .join("volume-subpaths")
            .join(&mount.name)
            .join(&container.name)
            .join(index.to_string());
        let mounted = sub_path::prepare(volume, &part, &target)
            .map_err(|error| format!("failed to prepare subPath for volumeMount {:?}: {error}", mount.name))?;
        let name = format!("{} part {index}", mount.name);
        making.volumes.insert(name.clone(), mounted);
        (mount.name, mount.sub_path, mount.sub_path_expr) = (name, None, None);
    }
    Ok(container)
}

async fn objects(place: &Place<'_>, container: &Container) -> Result<Objects, ClusterError> {
    let namespace = identity::namespace(place.pod);
    let (config_maps, secrets) = environment::references(container);
    let cluster = &place.node.cluster;
    let mut objects = Objects { services: cluster.services(place.pod).await?, ..Objects::default() };
    for name in config_maps {
        if let Some(object) = cluster.config_map(namespace, &name).await? {
            objects.config_maps.insert(name, object);
        }
    }
    for name in secrets {
        if let Some(object) = cluster.secret(namespace, &name).await? {
            objects.secrets.insert(name, object);
        }
    }
    Ok(objects)
}

/// A container that was created and never started is of no use.
async fn discard_unstarted(place: &Place<'_>, container: &Container) {
    if let Some(seen) = place.observed.latest(&container.name).filter(|seen| !seen.running() && !seen.exited())
        && let Err(error) = place.node.runtime.remove_container(seen.status.id.clone()).await
    {
        tracing::debug!(container = seen.status.id, %error, "an unstarted container was not removed");
    }
}

/// The run before the present one stays for its log; older ones go.
async fn discard_old(place: &Place<'_>, container: &Container) {
    let runs = place.observed.containers.iter().filter(|seen| seen.name() == container.name && seen.exited());
    for old in runs.skip(1) {
        if let Err(error) = place.node.runtime.remove_container(old.status.id.clone()).await {
            tracing::debug!(container = old.status.id, %error, "an old container was not removed");
        }
        let log = place.node.paths.container_log(place.pod, &container.name, old.attempt());
        // The log goes with its container; it may never have been written.
        let _ = std::fs::remove_file(log);
    }
}

/// Log collectors look for one link per container in a flat folder.
fn link_log(place: &Place<'_>, container: &Container, id: &str) {
    let Some(folder) = place.node.paths.logs().parent().map(|parent| parent.join("containers")) else {
        return;
    };
    let attempt = place.observed.latest(&container.name).map_or(0, |seen| seen.attempt() + u32::from(seen.exited()));
    let target = place.node.paths.container_log(place.pod, &container.name, attempt);
    let link = folder.join(format!(
        "{}_{}_{}-{id}.log",
        identity::name(place.pod),
        identity::namespace(place.pod),
        container.name
    ));
    let linked = std::fs::create_dir_all(&folder).and_then(|()| std::os::unix::fs::symlink(target, link));
    if let Err(error) = linked {
        tracing::debug!(container = id, %error, "the log was not linked");
    }
}

async fn after_start(place: &Place<'_>, container: &Container, id: &str) -> Result<(), Waiting> {
    let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref()) else {
        return Ok(());
    };
    let ip = place.facts.pod_ips.first().cloned().unwrap_or_default();
    let target = Target {
        runtime: place.node.runtime.clone(),
        id: id.to_owned(),
        ip,
        age: Duration::ZERO,
        container: container.clone(),
    };
    let Err(message) = run_hook(hook, &target).await else {
        return Ok(());
    };
    let about = reference(place.pod, Some(format!("spec.containers{{{}}}", container.name)));
    let message = format!("PostStartHook failed: {message}");
    place.node.reporter.report(&about, true, "FailedPostStartHook", &message);
    let grace = Duration::from_secs(u64::try_from(identity::grace_period(place.pod)).unwrap_or(30));
    if let Err(error) = place.node.runtime.stop_container(id.to_owned(), grace).await {
        tracing::warn!(container = id, %error, "a container with a failed hook was not stopped");
    }
    Err(Waiting::new("PostStartHookError", message))
}

/// Runs a lifecycle hook to its end.
pub async fn run_hook(hook: &LifecycleHandler, target: &Target) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let answer = target
            .runtime
            .exec_sync(target.id.clone(), command, Duration::ZERO)
            .await
            .map_err(|error| error.to_string())?;
        return if answer.exit_code == 0 { Ok(()) } else { Err(format!("command exited with {}", answer.exit_code)) };
    }
    if let Some(http) = &hook.http_get {
        return ask::get(http, target).await;
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
    }
    Ok(())
}
