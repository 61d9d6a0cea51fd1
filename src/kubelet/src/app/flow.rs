//! What flows between the sources of pods, their tasks, and the API.

use std::sync::Arc;

use controller_runtime::{Event, ObjectKey, Retry, Store};
use cri::Runtime;
use k8s_openapi::api::core::v1::{Node, Pod};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Followed, LONGEST_REST};
use crate::config::Config;
use crate::node_context::{NodeContext, StatusUpdate};
use crate::pod::identity;
use crate::pods::Pods;
use crate::sources::files::StaticPods;
use crate::sources::mirror::Mirrors;
use crate::status_writer::StatusWriter;
use crate::sync::finish::remove_orphan;

/// Tells the runtime the range of pods as soon as it is known.
pub(super) async fn give_pod_cidr(
    runtime: Arc<dyn Runtime>,
    given: Option<String>,
    node: Option<Store<Node>>,
    again: Arc<Notify>,
) {
    let give = async |cidr: String| {
        let mut retry = Retry::new(LONGEST_REST);
        while let Err(error) = runtime.update_pod_cidr(cidr.clone()).await {
            tracing::warn!(cidr, %error, "the runtime was not told the range of pods");
            retry.sleep().await;
        }
        tracing::info!(cidr, "the runtime knows the range of pods");
        again.notify_one();
    };
    if let Some(cidr) = given {
        give(cidr).await;
    }
    let Some(node) = node else { return };
    let (mut events, mut last) = (node.subscribe(), None);
    while let Some(event) = events.recv().await {
        let spec = event.object().spec.clone().unwrap_or_default();
        let cidrs = spec.pod_cidrs.filter(|cidrs| !cidrs.is_empty()).map(|cidrs| cidrs.join(","));
        let cidr = cidrs.or(spec.pod_cidr).filter(|cidr| !cidr.is_empty());
        if cidr.is_some() && cidr != last {
            last.clone_from(&cidr);
            give(cidr.unwrap_or_default()).await;
        }
    }
}

/// Brings static pods to their tasks.
pub(super) async fn apply_static(mut static_pods: watch::Receiver<StaticPods>, pods: Arc<Pods>) {
    let mut before = StaticPods::new();
    loop {
        let now = static_pods.borrow_and_update().clone();
        for uid in before.keys().filter(|uid| !now.contains_key(*uid)) {
            pods.remove(uid);
        }
        for pod in now.values() {
            pods.apply(pod.clone());
        }
        before = now;
        if static_pods.changed().await.is_err() {
            return;
        }
    }
}

/// Wakes the pods whose objects changed.
pub(super) async fn pass_on(mut woken: mpsc::UnboundedReceiver<String>, pods: Arc<Pods>) {
    while let Some(uid) = woken.recv().await {
        pods.wake(&uid);
    }
}

/// Brings pods of the API to their tasks, and tells the API of all pods.
pub(super) async fn with_api(
    config: &Config,
    followed: Followed,
    (pods, node): (Arc<Pods>, Arc<NodeContext>),
    (updates, static_pods): (mpsc::UnboundedReceiver<StatusUpdate>, watch::Receiver<StaticPods>),
    token: CancellationToken,
) {
    let writer = StatusWriter::new(followed.client.clone(), followed.pods.clone());
    tokio::spawn(writer.run(updates, token.clone()));
    let mirrors = Mirrors {
        client: followed.client,
        wanted: static_pods,
        pods: followed.pods.clone(),
        node: followed.node,
        node_name: config.identity.name.clone(),
    };
    tokio::spawn(mirrors.run(token.clone()));
    let mut events = followed.pods.subscribe();
    followed.pods.synced().await;
    for pod in followed.pods.list() {
        apply(&pods, &pod);
    }
    tokio::spawn(remove_orphans(pods.clone(), node));
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            event = events.recv() => match event {
                Some(event) => take(&pods, &followed.pods, &event),
                None => return,
            },
        }
    }
}

fn apply(pods: &Arc<Pods>, pod: &Arc<Pod>) {
    if !identity::is_mirror(pod) {
        pods.apply(pod.clone());
    }
}

fn take(pods: &Arc<Pods>, store: &Store<Pod>, event: &Event<Pod>) {
    let replaced = event.old().filter(|old| old.metadata.uid != event.object().metadata.uid);
    if let Some(old) = replaced {
        pods.remove(identity::uid(old));
    }
    match event {
        Event::Deleted(pod) => pods.remove(identity::uid(pod)),
        // An event may be older than what was applied from the first list.
        _ => {
            if let Some(newest) = store.get(&ObjectKey::of(event.object().as_ref())) {
                apply(pods, &newest);
            } else {
                tracing::trace!("the pod is gone already");
            }
        }
    }
}

/// Tells nobody.
pub(super) fn without_api(
    mut updates: mpsc::UnboundedReceiver<StatusUpdate>,
    pods: &Arc<Pods>,
    node: &Arc<NodeContext>,
) {
    tokio::spawn(remove_orphans(pods.clone(), node.clone()));
    tokio::spawn(async move { while updates.recv().await.is_some() {} });
}

/// What ran for pods that vanished while no kubelet looked.
async fn remove_orphans(pods: Arc<Pods>, node: Arc<NodeContext>) {
    let listed = futures::try_join!(
        node.runtime.list_pod_sandboxes(cri::Labels::new()),
        node.runtime.list_containers(cri::Labels::new())
    );
    let Ok((sandboxes, containers)) = listed else { return };
    let labels = sandboxes
        .into_iter()
        .map(|sandbox| sandbox.labels)
        .chain(containers.into_iter().map(|container| container.labels));
    let mut uids: Vec<String> = labels.filter_map(|labels| labels.get(identity::POD_UID).cloned()).collect();
    let folders = std::fs::read_dir(node.paths.pods()).into_iter().flatten().flatten();
    uids.extend(folders.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    uids.sort();
    uids.dedup();
    for uid in uids.into_iter().filter(|uid| !pods.knows(uid)) {
        tracing::info!(uid, "removing what is left of a pod that is gone");
        if let Err(error) = remove_orphan(&node, &uid).await {
            tracing::warn!(uid, %error, "the remains were not removed");
            continue;
        }
        if let Err(error) = crate::volumes::tear_down(&node.paths, &uid) {
            tracing::warn!(uid, %error, "the volumes were not removed");
        }
    }
}
