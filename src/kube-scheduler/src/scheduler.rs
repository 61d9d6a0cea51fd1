//! The loop: take in what happened, decide for the next pod in line, hand the decision to the binder.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use controller_runtime::Event as Change;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::cycle::{self, Outcome, Rotation};
use crate::node::NodeInfo;
use crate::plugins::Event;
use crate::pod::PodInfo;
use crate::queue::Queue;
use crate::snapshot::Snapshot;

/// The name of the scheduler that pods get unless they ask for another.
pub const DEFAULT_NAME: &str = "default-scheduler";

/// Something that happened.
#[derive(Debug)]
pub enum News {
    /// To a pod.
    Pod(Change<Pod>),
    /// To a node.
    Node(Change<Node>),
    /// To a namespace.
    Namespace(Change<Namespace>),
    /// A binding was refused.
    BindingFailed {
        /// The pod's identity.
        uid: String,
    },
}

/// Who carries out decisions; it must not block.
pub trait Binder: Send + 'static {
    /// Binds a pod to a node; sends [`News::BindingFailed`] if that fails.
    fn bind(&self, pod: &Arc<PodInfo>, node: &str);
    /// Tells the user why a pod has no node.
    fn report(&self, pod: &Arc<PodInfo>, why: &str);
}

/// The scheduler's state; one task owns it.
pub struct Scheduler<B> {
    snapshot: Snapshot,
    queue: Queue,
    rotation: Rotation,
    names: BTreeSet<String>,
    binder: B,
}

impl<B: Binder> Scheduler<B> {
    /// A scheduler for the pods that ask for one of `names`.
    pub fn new(names: BTreeSet<String>, binder: B, seed: u64) -> Self {
        Self { snapshot: Snapshot::default(), queue: Queue::default(), rotation: Rotation::seeded(seed), names, binder }
    }

    /// Works until the token is cancelled.
    pub async fn run(mut self, mut news: UnboundedReceiver<News>, token: CancellationToken) {
        loop {
            // Everything that is known counts before anything is decided.
            while let Ok(item) = news.try_recv() {
                self.hear(item, Instant::now());
            }
            if self.step(Instant::now()) {
                if token.is_cancelled() {
                    return;
                }
                // Bindings and watches run between two decisions.
                tokio::task::yield_now().await;
                continue;
            }
            let alarm = self.queue.next_alarm();
            let sleep = async {
                match alarm {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = token.cancelled() => return,
                () = sleep => {}
                item = news.recv() => match item {
                    Some(item) => self.hear(item, Instant::now()),
                    None => return,
                },
            }
        }
    }

    /// Decides for the next pod in line; tells whether there was one.
    pub fn step(&mut self, now: Instant) -> bool {
        let Some(pod) = self.queue.pop(now) else { return false };
        match cycle::decide(&pod, &self.snapshot, &mut self.rotation) {
            Outcome::Node(node) => {
                self.snapshot.assume(Arc::clone(&pod), &node);
                self.queue.wake(&Event::PodPlaced(&pod), now);
                self.binder.bind(&pod, &node);
            }
            Outcome::Nowhere(diagnosis) => {
                self.binder.report(&pod, &diagnosis.to_string());
                self.queue.park(&pod.uid, diagnosis.plugins, now);
            }
        }
        true
    }

    /// Takes in what happened.
    pub fn hear(&mut self, news: News, now: Instant) {
        match news {
            News::Pod(Change::Deleted(pod)) => self.lose(&PodInfo::new(pod), now),
            News::Pod(change) => self.see(PodInfo::new(Arc::clone(change.object())), now),
            News::Node(Change::Deleted(node)) => {
                self.snapshot.remove_node(node.metadata.name.as_deref().unwrap_or_default());
            }
            News::Node(change) => self.see_node(change.object(), now),
            News::Namespace(change) => {
                let (object, is_gone) = (change.object(), matches!(change, Change::Deleted(_)));
                let labels = (!is_gone).then(|| object.metadata.labels.clone().unwrap_or_default());
                self.snapshot.set_namespace(object.metadata.name.as_deref().unwrap_or_default(), labels);
            }
            News::BindingFailed { uid } => {
                if self.snapshot.forget(&uid) {
                    self.queue.retry(&uid, now);
                }
            }
        }
    }

    fn see(&mut self, pod: PodInfo, now: Instant) {
        if pod.has_ended() {
            self.lose(&pod, now);
            return;
        }
        let pod = Arc::new(pod);
        if let Some(node) = pod.node_name().map(str::to_owned) {
            self.queue.remove(&pod.uid);
            let is_known = self.snapshot.is_placed(&pod.uid);
            self.snapshot.set_pod(Arc::clone(&pod), &node);
            if !is_known {
                self.queue.wake(&Event::PodPlaced(&pod), now);
            }
        } else if pod.is_leaving() || !self.is_ours(&pod) {
            self.queue.remove(&pod.uid);
        } else {
            self.queue.set(pod);
        }
    }

    fn lose(&mut self, pod: &PodInfo, now: Instant) {
        self.queue.remove(&pod.uid);
        if self.snapshot.remove_pod(&pod.uid) {
            self.queue.wake(&Event::PodGone(pod), now);
        }
    }

    fn see_node(&mut self, node: &Arc<Node>, now: Instant) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let old: Option<NodeInfo> = self.snapshot.node(name).cloned();
        self.snapshot.set_node(Arc::clone(node));
        if let Some(new) = self.snapshot.node(name) {
            self.queue.wake(&Event::Node { old: old.as_ref(), new }, now);
        }
    }

    fn is_ours(&self, pod: &PodInfo) -> bool {
        let asked = pod.spec().and_then(|s| s.scheduler_name.as_deref()).unwrap_or(DEFAULT_NAME);
        self.names.contains(asked)
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read better by value")]
mod tests {
    use std::sync::Mutex;

    use serde_json::{Value, json};

    use super::*;
    use crate::snapshot::tests::{node, pod};

    #[derive(Clone, Default)]
    struct Recorded(Arc<Mutex<Vec<String>>>);

    impl Binder for Recorded {
        fn bind(&self, pod: &Arc<PodInfo>, node: &str) {
            self.0.lock().unwrap().push(format!("{} -> {node}", pod.name));
        }
        fn report(&self, pod: &Arc<PodInfo>, why: &str) {
            self.0.lock().unwrap().push(format!("{}: {}", pod.name, why.split('.').next().unwrap()));
        }
    }

    struct World {
        scheduler: Scheduler<Recorded>,
        recorded: Recorded,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            let recorded = Recorded::default();
            let names = [DEFAULT_NAME.to_owned()].into();
            let scheduler = Scheduler::new(names, recorded.clone(), 1);
            Self { scheduler, recorded, now: Instant::now() }
        }

        fn add(&mut self, name: &str, cpu: &str, extra: Value) {
            self.scheduler.hear(News::Pod(Change::Added(object(name, cpu, extra))), self.now);
        }

        fn work(&mut self) -> Vec<String> {
            while self.scheduler.step(self.now) {}
            std::mem::take(&mut *self.recorded.0.lock().unwrap())
        }

        fn node(&mut self, name: &str) {
            self.scheduler.hear(News::Node(Change::Added(node(name, json!({})))), self.now);
        }
    }

    fn object(name: &str, cpu: &str, extra: Value) -> Arc<Pod> {
        let mut whole = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        for (key, value) in extra.as_object().unwrap() {
            whole["spec"][key] = value.clone();
        }
        Arc::clone(&pod(name, whole).pod)
    }

    #[test]
    fn decisions_count_before_they_are_written() {
        let mut world = World::new();
        world.node("n1");
        for name in ["a", "b"] {
            world.add(name, "3", json!({}));
        }
        assert_eq!(world.work(), ["a -> n1", "b: 0/1 nodes are available: 1 Insufficient cpu"]);
    }

    #[test]
    fn a_pod_without_nodes_gets_the_first_that_comes() {
        let mut world = World::new();
        world.add("a", "1", json!({}));
        assert_eq!(world.work(), ["a: no nodes available to schedule pods"]);
        world.node("n1");
        world.now += std::time::Duration::from_secs(2);
        assert_eq!(world.work(), ["a -> n1"]);
    }

    #[test]
    fn a_refused_binding_is_taken_back_and_tried_again() {
        let mut world = World::new();
        world.node("n1");
        world.add("a", "3", json!({}));
        world.work();
        world.scheduler.hear(News::BindingFailed { uid: "uid-a".to_owned() }, world.now);
        assert_eq!(world.scheduler.snapshot.node("n1").unwrap().requested.milli_cpu, 0);
        assert_eq!(world.work(), Vec::<String>::new());
        world.now += std::time::Duration::from_secs(1);
        assert_eq!(world.work(), ["a -> n1"]);
    }

    #[test]
    fn a_pod_that_ends_makes_room() {
        let mut world = World::new();
        world.node("n1");
        world.add("a", "3", json!({"nodeName": "n1"}));
        world.add("b", "3", json!({}));
        world.work();
        world.now += std::time::Duration::from_secs(2);
        let mut ended = (*object("a", "3", json!({"nodeName": "n1"}))).clone();
        ended.status.get_or_insert_default().phase = Some("Succeeded".to_owned());
        world.scheduler.hear(News::Pod(Change::Added(Arc::new(ended))), world.now);
        assert_eq!(world.work(), ["b -> n1"]);
    }

    #[test]
    fn pods_of_other_schedulers_and_leaving_pods_are_left_alone() {
        let mut world = World::new();
        world.node("n1");
        world.add("a", "1", json!({"schedulerName": "other"}));
        let mut leaving = (*object("b", "1", json!({}))).clone();
        leaving.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        world.scheduler.hear(News::Pod(Change::Added(Arc::new(leaving))), world.now);
        assert!(world.work().is_empty());
    }
}
