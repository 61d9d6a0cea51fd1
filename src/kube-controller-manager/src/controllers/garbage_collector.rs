//! Objects whose owners are gone are removed, in the way the deletion of the owner asked for.
//!
//! The watches of all [`Kinds`] feed a [`graph::Graph`]; every decision is checked against the server before
//! it is carried out, by uid, so an object that was replaced under its old name is never touched.

mod graph;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use controller_runtime::{Event, Requeue, WorkQueue};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::json;

use crate::discovery::Discovered;
use crate::kinds::{Kinds, Meta};
use crate::ownership::{is_deleting, uid};
use crate::scope::{Scope, gone_is_fine};
use graph::{FOREGROUND, Fate, Graph, Node, ORPHAN};

/// Many objects may become garbage at once; a request each is waiting more than working.
const WORKERS: usize = 20;

#[derive(Clone)]
struct Collector {
    client: Client,
    graph: Arc<Mutex<Graph>>,
    queue: WorkQueue<String>,
    kinds: Kinds,
}

pub(super) async fn run(scope: Scope) {
    let collector = Collector {
        client: scope.client.clone(),
        graph: Arc::default(),
        queue: WorkQueue::new("garbage-collector"),
        kinds: scope.kinds.clone(),
    };
    scope.kinds.ready().await;
    let feeding = collector.clone();
    scope.kinds.on_event(move |kind, event| feeding.take(kind, event));
    let working = collector.clone();
    scope.work(collector.queue.clone(), WORKERS, move |uid| working.clone().reconcile(uid)).await;
}

impl Collector {
    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, kind: &Arc<Discovered>, event: &Event<Meta>) {
        let object = event.object();
        let touched = match event {
            Event::Deleted(_) => self.graph().remove(uid(object.as_ref())),
            Event::Added(_) | Event::Updated { .. } => self.graph().observe(Node::of(object, kind)),
        };
        for uid in touched {
            self.queue.add(uid);
        }
    }

    async fn reconcile(self, uid: String) -> Result<Requeue, kube::Error> {
        // Most are in doubt only because they were seen before their owners.
        let Some(node) = self.graph().in_doubt(&uid) else { return Ok(Requeue::No) };
        let api = self.api(&node);
        let Some(live) =
            api.get_opt(&node.name).await?.filter(|live| live.metadata.uid.as_deref() == Some(uid.as_str()))
        else {
            // Gone before its event came: what hangs on it is looked at now.
            let touched = self.graph().remove(&uid);
            for uid in touched {
                self.queue.add(uid);
            }
            return Ok(Requeue::No);
        };
        if is_deleting(&live) {
            return self.finish(&node, &live).await;
        }
        let owners = live.metadata.owner_references.clone().unwrap_or_default();
        if owners.is_empty() {
            return Ok(Requeue::No);
        }
        let mut fates = Vec::with_capacity(owners.len());
        for owner in &owners {
            fates.push(self.fate(owner, &node).await?);
        }
        let keep: Vec<&OwnerReference> =
            owners.iter().zip(&fates).filter(|(_, fate)| **fate == Fate::Lives).map(|(owner, _)| owner).collect();
        if keep.len() == owners.len() {
            return Ok(Requeue::No);
        }
        if !keep.is_empty() {
            let patch = json!({"metadata": {"uid": uid, "resourceVersion": live.metadata.resource_version, "ownerReferences": keep}});
            return patched(api.patch(&node.name, &PatchParams::default(), &Patch::Merge(patch)).await);
        }
        let waits = fates.contains(&Fate::WaitsForDependents) && self.graph().has_dependents(&uid);
        let has = |finalizer: &str| live.metadata.finalizers.iter().flatten().any(|name| name == finalizer);
        let policy = match () {
            () if has(ORPHAN) => PropagationPolicy::Orphan,
            () if waits || has(FOREGROUND) => PropagationPolicy::Foreground,
            () => PropagationPolicy::Background,
        };
        let preconditions = Preconditions { uid: Some(uid), resource_version: live.metadata.resource_version };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        tracing::debug!(kind = node.kind.resource.kind, namespace = node.namespace, name = node.name, "collecting");
        patched(self.typed(&node).delete(&node.name, &params).await)
    }

    /// What is left to do for an object that is being deleted: orphan its dependents, or wait for them.
    async fn finish(&self, node: &Node, live: &Meta) -> Result<Requeue, kube::Error> {
        let finalizers = live.metadata.finalizers.clone().unwrap_or_default();
        let done = if finalizers.iter().any(|name| name == ORPHAN) {
            self.orphan(uid(live)).await?;
            ORPHAN
        } else if finalizers.iter().any(|name| name == FOREGROUND) {
            let (blocking, others) = self.graph().dependents(uid(live));
            let waits = !blocking.is_empty();
            blocking.into_iter().chain(others).for_each(|dependent| self.queue.add(dependent.uid));
            if waits {
                return Ok(Requeue::No);
            }
            FOREGROUND
        } else {
            return Ok(Requeue::No);
        };
        let left: Vec<&String> = finalizers.iter().filter(|name| *name != done).collect();
        let patch = json!({"metadata": {"uid": uid(live), "resourceVersion": live.metadata.resource_version, "finalizers": left}});
        patched(self.api(node).patch(&node.name, &PatchParams::default(), &Patch::Merge(patch)).await)
    }

    async fn orphan(&self, owner: &str) -> Result<(), kube::Error> {
        let (blocking, others) = self.graph().dependents(owner);
        for dependent in blocking.into_iter().chain(others) {
            let api = self.api(&dependent);
            let Some(live) = api.get_opt(&dependent.name).await?.filter(|live| uid(live) == dependent.uid) else {
                continue;
            };
            let left: Vec<&OwnerReference> =
                live.metadata.owner_references.iter().flatten().filter(|reference| reference.uid != owner).collect();
            let patch = json!({"metadata": {"uid": dependent.uid, "resourceVersion": live.metadata.resource_version, "ownerReferences": left}});
            match api.patch(&dependent.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                outcome => drop(outcome?),
            }
        }
        Ok(())
    }

    /// What became of an owner: as the graph knows it, else as the server says.
    async fn fate(&self, owner: &OwnerReference, dependent: &Node) -> Result<Fate, kube::Error> {
        if let Some(fate) = self.graph().fate(owner, &dependent.namespace) {
            return Ok(fate);
        }
        let Some(kind) = self.kind_of(owner) else {
            // A kind the server does not have (now) says nothing about its objects: garbage is kept rather than life lost.
            return Ok(Fate::Lives);
        };
        let found = scoped(self.client.clone(), &kind, &dependent.namespace).get_opt(&owner.name).await?;
        Ok(match found {
            Some(found) if uid(&found) == owner.uid => Fate::of(&found.metadata),
            _ => {
                self.graph().bury(&owner.uid);
                Fate::Gone
            }
        })
    }

    fn kind_of(&self, owner: &OwnerReference) -> Option<Arc<Discovered>> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let named = |kind: &Discovered| kind.resource.kind == owner.kind && kind.resource.group == group;
        self.kinds.find(named).map(|(kind, _)| kind)
    }

    fn api(&self, node: &Node) -> Api<Meta> {
        scoped(self.client.clone(), &node.kind, &node.namespace)
    }

    fn typed(&self, node: &Node) -> Api<DynamicObject> {
        let resource: &ApiResource = &node.kind.resource;
        if node.namespace.is_empty() {
            Api::all_with(self.client.clone(), resource)
        } else {
            Api::namespaced_with(self.client.clone(), &node.namespace, resource)
        }
    }
}

fn scoped(client: Client, kind: &Discovered, namespace: &str) -> Api<Meta> {
    if kind.namespaced {
        Api::namespaced_with(client, namespace, &kind.resource)
    } else {
        Api::all_with(client, &kind.resource)
    }
}

/// The object changed or went meanwhile: its event brings it here again.
fn patched<T>(outcome: Result<T, kube::Error>) -> Result<Requeue, kube::Error> {
    match outcome {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Requeue::RateLimited),
        outcome => gone_is_fine(outcome).map(|()| Requeue::No),
    }
}
