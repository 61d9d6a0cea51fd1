//! All pods of the node: one task each, and the way from an event to the task it concerns.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::eviction::Eviction;
use crate::node_context::NodeContext;
use crate::pod::identity;
use crate::sync::{Desired, PodLoop};

struct Handle {
    desired: watch::Sender<Desired>,
    wake: Arc<Notify>,
    done: CancellationToken,
}

/// The pods of this node.
pub struct Pods {
    node: Arc<NodeContext>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    handles: HashMap<String, Handle>,
    /// Pods of which nothing is left here and which the API has not forgotten yet.
    finished: BTreeSet<String>,
}

impl Pods {
    /// No pods yet.
    pub fn new(node: Arc<NodeContext>) -> Arc<Self> {
        Arc::new(Self { node, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A source has this pod, in this form.
    pub fn apply(self: &Arc<Self>, pod: Arc<Pod>) {
        let uid = identity::uid(&pod).to_owned();
        let mut state = self.lock();
        if uid.is_empty() || state.finished.contains(&uid) {
            return;
        }
        if let Some(handle) = state.handles.get(&uid) {
            handle.desired.send_if_modified(|desired| {
                let changed = desired.pod != pod;
                let matters = changed && needs_a_pass(&desired.pod, &pod);
                desired.pod = pod;
                matters
            });
            return;
        }
        self.start(&mut state, uid, pod);
    }

    fn start(self: &Arc<Self>, state: &mut State, uid: String, pod: Arc<Pod>) {
        // A pod of the same name, made from an older file, must have ended before its successor begins.
        let same = |other: &Handle| {
            let other = &other.desired.borrow().pod;
            identity::name(other) == identity::name(&pod) && identity::namespace(other) == identity::namespace(&pod)
        };
        let before: Vec<CancellationToken> =
            state.handles.values().filter(|handle| same(handle)).map(|handle| handle.done.clone()).collect();
        let desired = Desired::new(pod);
        let (sender, receiver) = watch::channel(desired.clone());
        let (wake, done) = (Arc::new(Notify::new()), CancellationToken::new());
        let pods = Arc::clone(self);
        let pod_loop = PodLoop::new(self.node.clone(), desired, wake.clone());
        state.handles.insert(uid.clone(), Handle { desired: sender, wake, done: done.clone() });
        tokio::spawn(async move {
            for earlier in before {
                earlier.cancelled().await;
            }
            pod_loop.run(receiver).await;
            pods.finish(&uid);
            done.cancel();
        });
    }

    fn finish(&self, uid: &str) {
        let mut state = self.lock();
        let Some(handle) = state.handles.remove(uid) else { return };
        let desired = handle.desired.borrow();
        if !desired.removed && !identity::is_static(&desired.pod) {
            state.finished.insert(uid.to_owned());
        }
    }

    /// A source no longer has this pod.
    pub fn remove(&self, uid: &str) {
        let mut state = self.lock();
        state.finished.remove(uid);
        if let Some(handle) = state.handles.get(uid) {
            handle.desired.send_modify(|desired| desired.removed = true);
        }
    }

    /// The node cannot keep a pod.
    pub fn evict(&self, uid: &str, eviction: Eviction) {
        if let Some(handle) = self.lock().handles.get(uid) {
            handle.desired.send_modify(|desired| desired.evicted = Some(eviction));
        }
    }

    /// The pods that the node could not keep.
    pub fn evicted(&self) -> Vec<String> {
        let state = self.lock();
        let evicted = state.handles.iter().filter(|(_, handle)| handle.desired.borrow().evicted.is_some());
        evicted.map(|(uid, _)| uid.clone()).collect()
    }

    /// Makes a pod look at the world again.
    pub fn wake(&self, uid: &str) {
        if let Some(handle) = self.lock().handles.get(uid) {
            handle.wake.notify_one();
        }
    }

    /// Makes every pod look at the world again.
    pub fn wake_all(&self) {
        for handle in self.lock().handles.values() {
            handle.wake.notify_one();
        }
    }

    /// Whether a pod is at home here.
    pub fn knows(&self, uid: &str) -> bool {
        self.lock().handles.contains_key(uid)
    }

    /// Every pod.
    pub fn list(&self) -> Vec<Arc<Pod>> {
        self.lock().handles.values().map(|handle| handle.desired.borrow().pod.clone()).collect()
    }

    /// A pod by its name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.list().into_iter().find(|pod| identity::namespace(pod) == namespace && identity::name(pod) == name)
    }
}

/// Our own status coming back is no reason to look at the world.
fn needs_a_pass(before: &Pod, after: &Pod) -> bool {
    let gates = |pod: &Pod| {
        pod.spec.as_ref().is_some_and(|spec| spec.readiness_gates.as_ref().is_some_and(|gates| !gates.is_empty()))
    };
    before.spec != after.spec
        || before.metadata.deletion_timestamp != after.metadata.deletion_timestamp
        || before.metadata.deletion_grace_period_seconds != after.metadata.deletion_grace_period_seconds
        || before.metadata.labels != after.metadata.labels
        || before.metadata.annotations != after.metadata.annotations
        || (gates(after) && before.status != after.status)
}
