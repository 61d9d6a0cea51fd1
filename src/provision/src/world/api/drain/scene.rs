//! What is known of the pods on a Node and of the budgets that keep them: by watches, so that nobody has to ask.

use std::collections::BTreeMap;
use std::fmt::Debug;

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::Api;
use kube::runtime::watcher;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch::Sender;

use super::covers;
use crate::world::api::wait::{next, pod_is_ready};

/// Objects by their uid; nothing before all of them are known.
type Known<K> = Option<BTreeMap<String, K>>;

/// The pods on one Node, and all budgets.
#[derive(Default)]
pub(super) struct Scene {
    pods: Known<Pod>,
    budgets: Known<PodDisruptionBudget>,
}

/// The versions of all that decides on an eviction; nothing before everything is known.
pub(super) type Outlook = Option<Vec<String>>;

impl Scene {
    /// Whether the pod is not on the Node any more. One of the same name may be, or elsewhere.
    pub(super) fn is_gone(&self, pod: &Pod) -> bool {
        self.pods.as_ref().is_some_and(|pods| !pods.contains_key(&uid(pod)))
    }

    /// What decides on the eviction of a pod, as far as it has been heard of.
    pub(super) fn outlook(&self, pod: &Pod) -> Outlook {
        let (pods, budgets) = (self.pods.as_ref()?, self.budgets.as_ref()?);
        let own = pods.get(&uid(pod)).map(version);
        let covering = budgets.values().filter(|budget| covers(budget, pod)).map(version);
        Some(own.into_iter().chain(covering).collect())
    }

    /// Whether an eviction that was refused when the outlook was `then` may be granted now.
    pub(super) fn has_brightened(&self, pod: &Pod, then: &Outlook) -> bool {
        let now = self.outlook(pod);
        now.is_some() && now != *then && !self.is_kept(pod)
    }

    /// Whether the server would refuse it. What a budget says of a pod that is not ready depends on its policy: the server
    /// is asked whenever anything changes.
    fn is_kept(&self, pod: &Pod) -> bool {
        let current = self.pods.as_ref().and_then(|pods| pods.get(&uid(pod))).unwrap_or(pod);
        let mut covering =
            self.budgets.iter().flatten().map(|(_, budget)| budget).filter(|budget| covers(budget, current));
        pod_is_ready(current) && covering.any(refuses)
    }
}

/// Whether the budget has nothing to give, or nobody has worked out yet what it has.
fn refuses(budget: &PodDisruptionBudget) -> bool {
    budget
        .status
        .as_ref()
        .is_none_or(|status| status.disruptions_allowed <= 0 || status.observed_generation < budget.metadata.generation)
}

/// Keeps the scene as the API tells it; ends only if it cannot.
pub(super) async fn follow(client: &Client, node: &str, scene: &Sender<Scene>) -> Result<()> {
    let on_node = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let pods = keep(Api::<Pod>::all(client.clone()), on_node, scene, |scene| &mut scene.pods);
    let budgets = Api::<PodDisruptionBudget>::all(client.clone());
    let budgets = keep(budgets, watcher::Config::default(), scene, |scene| &mut scene.budgets);
    tokio::try_join!(pods, budgets).map(drop)
}

async fn keep<K>(
    api: Api<K>,
    config: watcher::Config,
    scene: &Sender<Scene>,
    place: fn(&mut Scene) -> &mut Known<K>,
) -> Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut stream = std::pin::pin!(watcher(api, config));
    let mut fresh = BTreeMap::new();
    loop {
        match next(&mut stream, "pods and their budgets").await? {
            watcher::Event::Init => fresh.clear(),
            watcher::Event::InitApply(object) => {
                fresh.insert(uid(&object), object);
            }
            watcher::Event::InitDone => {
                let all = std::mem::take(&mut fresh);
                scene.send_modify(|scene| *place(scene) = Some(all));
            }
            watcher::Event::Apply(object) => scene.send_modify(|scene| {
                place(scene).get_or_insert_default().insert(uid(&object), object);
            }),
            watcher::Event::Delete(object) => scene.send_modify(|scene| {
                place(scene).get_or_insert_default().remove(&uid(&object));
            }),
        }
    }
}

fn uid(object: &impl Resource) -> String {
    object.meta().uid.clone().unwrap_or_default()
}

fn version(object: &impl Resource) -> String {
    object.meta().resource_version.clone().unwrap_or_default()
}
