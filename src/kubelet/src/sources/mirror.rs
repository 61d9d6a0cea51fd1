//! Mirror pods: the API server's picture of static pods, so that people and schedulers see them.

use std::sync::Arc;
use std::time::Duration;

use controller_runtime::{ObjectKey, Retry, Store};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::files::StaticPods;
use crate::pod::identity;

/// The longest rest after the API refused.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// Keeps the mirrors of static pods.
pub struct Mirrors {
    /// The API.
    pub client: Client,
    /// The static pods.
    pub wanted: watch::Receiver<StaticPods>,
    /// The pods of this node in the API.
    pub pods: Store<Pod>,
    /// This node in the API.
    pub node: Store<Node>,
    /// Its name.
    pub node_name: String,
}

/// What to do about one mirror.
#[derive(Debug, PartialEq)]
enum Change {
    Create(Box<Pod>),
    Delete { namespace: String, name: String, uid: Option<String> },
}

/// How a pass over all mirrors ended.
#[derive(Debug, PartialEq)]
enum Pass {
    Done,
    /// The node is not known yet; it owns the mirrors.
    Early,
    Failed,
}

impl Mirrors {
    /// Runs until the token is cancelled.
    pub async fn run(mut self, token: CancellationToken) {
        let mut events = self.pods.subscribe();
        self.pods.synced().await;
        let mut node = self.node.subscribe();
        let mut retry = Retry::new(LONGEST_REST);
        loop {
            let again = match self.pass().await {
                Pass::Done => {
                    retry.answered();
                    None
                }
                Pass::Early => None,
                Pass::Failed => Some(retry.rest()),
            };
            let pause = async {
                match again {
                    Some(rest) => tokio::time::sleep(rest).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = token.cancelled() => return,
                () = pause => {}
                changed = self.wanted.changed() => if changed.is_err() { return },
                // Only deletions of mirrors call for something; everything else is read from the store anyway.
                event = events.recv() => if event.is_none() { return },
                // The first sight of the node lets mirrors be made.
                event = node.recv() => if event.is_none() { return },
            }
        }
    }

    async fn pass(&mut self) -> Pass {
        let Some(node) = self.node.get(&ObjectKey::cluster(&self.node_name)) else { return Pass::Early };
        let wanted = self.wanted.borrow_and_update().clone();
        let mut pass = Pass::Done;
        for change in changes(&wanted, &self.pods.list(), &node) {
            let result = self.apply(&change).await;
            if let Err(error) = result {
                tracing::debug!(%error, "a mirror pod was not brought up to date");
                pass = Pass::Failed;
            }
        }
        pass
    }

    async fn apply(&self, change: &Change) -> Result<(), kube::Error> {
        match change {
            Change::Create(pod) => {
                let api: Api<Pod> = Api::namespaced(self.client.clone(), identity::namespace(pod));
                match api.create(&PostParams::default(), pod).await {
                    Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                    other => other.map(drop),
                }
            }
            Change::Delete { namespace, name, uid } => {
                let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
                let preconditions = Some(Preconditions { uid: uid.clone(), ..Preconditions::default() });
                match api
                    .delete(
                        name,
                        &DeleteParams { grace_period_seconds: Some(0), preconditions, ..DeleteParams::default() },
                    )
                    .await
                {
                    Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
                    other => other.map(drop),
                }
            }
        }
    }
}

fn changes(wanted: &StaticPods, present: &[Arc<Pod>], node: &Node) -> Vec<Change> {
    let mut changes = Vec::new();
    let same_name =
        |a: &Pod, b: &Pod| identity::name(a) == identity::name(b) && identity::namespace(a) == identity::namespace(b);
    for pod in present.iter().filter(|pod| identity::is_mirror(pod)) {
        let original = wanted.values().find(|wanted| same_name(wanted, pod));
        let fits = original.is_some_and(|original| identity::config_hash(original) == identity::config_hash(pod));
        if !fits || pod.metadata.deletion_timestamp.is_some() {
            changes.push(Change::Delete {
                namespace: identity::namespace(pod).to_owned(),
                name: identity::name(pod).to_owned(),
                uid: pod.metadata.uid.clone(),
            });
        }
    }
    // Where a mirror must go first, the event of its end brings the next pass.
    let missing = wanted.values().filter(|wanted| !present.iter().any(|pod| same_name(wanted, pod)));
    changes.extend(missing.map(|pod| Change::Create(Box::new(mirror(pod, node)))));
    changes
}

fn mirror(pod: &Pod, node: &Node) -> Pod {
    let mut mirror = pod.clone();
    mirror.metadata.uid = None;
    let hash = identity::config_hash(pod).unwrap_or_default().to_owned();
    mirror.metadata.annotations.get_or_insert_default().insert(identity::CONFIG_MIRROR.to_owned(), hash);
    mirror.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    mirror
}

#[cfg(test)]
mod tests {
    use controller_runtime::Informer;
    use controller_runtime::fake::FakeApi;
    use serde_json::json;

    use super::*;
    use crate::sources::files::parse;

    fn static_pod(image: &str) -> Pod {
        let text = format!(
            "kind: Pod\nmetadata: {{name: a, namespace: kube-system}}\nspec: {{containers: [{{name: c, image: {image}}}]}}\n"
        );
        parse(&text, "f", "n1").unwrap()
    }

    fn wanted(pod: &Pod) -> StaticPods {
        [(identity::uid(pod).to_owned(), Arc::new(pod.clone()))].into()
    }

    #[test]
    fn mirrors_follow_their_originals() {
        let node = Node::default();
        let pod = static_pod("i:1");
        let [Change::Create(made)] = &changes(&wanted(&pod), &[], &node)[..] else { panic!("one mirror is made") };
        assert!(identity::is_mirror(made) && made.metadata.uid.is_none());
        let mut present = (**made).clone();
        present.metadata.uid = Some("api-uid".to_owned());
        let present = [Arc::new(present)];
        assert!(changes(&wanted(&pod), &present, &node).is_empty());
        let delete = Change::Delete {
            namespace: "kube-system".to_owned(),
            name: "a-n1".to_owned(),
            uid: Some("api-uid".to_owned()),
        };
        assert_eq!(changes(&StaticPods::new(), &present, &node), [delete]);
        assert!(matches!(changes(&wanted(&static_pod("i:2")), &present, &node)[..], [Change::Delete { .. }]));
    }

    #[tokio::test(start_paused = true)]
    async fn mirrors_are_made_when_the_node_appears_and_soon_after_the_api_refused() {
        let (api, token) = (FakeApi::new(), CancellationToken::new());
        let pod = static_pod("i:1");
        let (_wanted, receiver) = watch::channel(wanted(&pod));
        let pods = Informer::<Pod>::new(Api::all(api.client())).start(token.clone());
        let node = Informer::<Node>::new(Api::all(api.client())).start(token.clone());
        pods.synced().await;
        let mirrors = Mirrors { client: api.client(), wanted: receiver, pods, node, node_name: "n1".to_owned() };
        tokio::spawn(mirrors.run(token.clone()));
        tokio::time::sleep(Duration::from_secs(20)).await;
        let tries = || api.requests().iter().filter(|request| request.starts_with("POST")).count();
        assert_eq!(tries(), 0, "without a node nothing is tried");
        for _ in 0..5 {
            api.fail_next(http::StatusCode::NOT_FOUND);
        }
        api.put("/api/v1/nodes/n1", json!({"metadata": {"uid": "node-uid"}}));
        tokio::time::sleep(Duration::from_millis(550)).await;
        assert!(api.get("/api/v1/namespaces/kube-system/pods/a-n1").is_some(), "{:?}", api.requests());
        token.cancel();
    }
}
