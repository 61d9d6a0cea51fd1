//! Registering the node, keeping its status true, and renewing its lease.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use controller_runtime::{ObjectKey, Retry, Store};
use cri::Runtime;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::network::RuntimeState;
use super::status::{self, Picture};
use super::{facts, lease};
use crate::config::Config;
use crate::eviction::Pressure;

/// The longest rest between two tries to tell the API something: a node must be heard of soon after a server is back.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The node as its own kubelet tells it.
pub struct Registration {
    /// The API.
    pub client: Client,
    /// The configuration.
    pub config: Arc<Config>,
    /// Addresses of the node.
    pub ips: Vec<IpAddr>,
    /// The runtime, for images.
    pub runtime: Arc<dyn Runtime>,
    /// Name and version of the runtime.
    pub runtime_version: String,
    /// Whether pods can run.
    pub state: watch::Receiver<RuntimeState>,
    /// What the node lacks.
    pub pressure: watch::Receiver<Pressure>,
    /// This node in the API.
    pub node: Store<Node>,
}

impl Registration {
    /// Registers, then lives until the token is cancelled.
    pub async fn run(mut self, token: CancellationToken) {
        tokio::select! {
            () = token.cancelled() => {}
            () = self.live() => {}
        }
    }

    async fn live(&mut self) {
        let info = facts::system_info(&self.runtime_version);
        let [mut registering, mut renewing, mut telling] = std::array::from_fn(|_| Retry::new(LONGEST_REST));
        let mut told = self.register(&info, &mut registering).await;
        let mut told_at = Instant::now();
        // When to say again what nobody heard.
        let mut again = None;
        let period = self.config.lease_duration / 4;
        let mut beat = tokio::time::interval(period);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut events = self.node.subscribe();
        loop {
            let mut deleted = false;
            tokio::select! {
                _ = beat.tick() => if self.renew(period).await {
                    renewing.answered();
                } else {
                    // The cluster must not wait a whole period for word of a node that found a server again.
                    beat.reset_after(renewing.rest());
                },
                () = at(again) => {}
                changed = self.state.changed() => if changed.is_err() { return },
                changed = self.pressure.changed() => if changed.is_err() { return },
                event = events.recv() => match event {
                    Some(controller_runtime::Event::Deleted(_)) => deleted = true,
                    Some(_) => continue,
                    None => return,
                },
            }
            if deleted {
                tracing::warn!(node = self.config.identity.name, "the node was deleted from the API; registering anew");
                told = self.register(&info, &mut registering).await;
                again = None;
                continue;
            }
            let now = self.picture(&info, &told).await;
            let due = told_at.elapsed() >= self.config.status_report;
            again = None;
            if due || status::differs(&told, &now) {
                if self.tell(&now).await {
                    telling.answered();
                    (told, told_at) = (now, Instant::now());
                } else {
                    again = Some(Instant::now() + telling.rest());
                }
            }
        }
    }

    /// Whether the API has taken a status.
    async fn tell(&self, status: &NodeStatus) -> bool {
        match tokio::time::timeout(ANSWER, self.patch(status)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::debug!(%error, "the status of the node was not told"),
            Err(_) => tracing::debug!("the status of the node was not told: no answer"),
        }
        false
    }

    /// Whether the lease was renewed. A server that says nothing is given up: the next try may reach another one.
    async fn renew(&self, patience: Duration) -> bool {
        let name = &self.config.identity.name;
        let node = self.node.get(&ObjectKey::cluster(name));
        let renewal = lease::renew(&self.client, name, node.as_deref(), self.config.lease_duration);
        match tokio::time::timeout(patience, renewal).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease of the node was not renewed");
                false
            }
            Err(_) => {
                tracing::warn!(?patience, "the lease of the node was not renewed: no answer");
                false
            }
        }
    }

    /// Tries until the API has the node; answers the status it has.
    async fn register(&mut self, info: &NodeSystemInfo, retry: &mut Retry) -> NodeStatus {
        loop {
            let status = self.picture(info, &NodeStatus::default()).await;
            let registered = async {
                if self.config.identity.register {
                    self.create_or_adopt(&status).await?;
                }
                self.patch(&status).await
            };
            match tokio::time::timeout(ANSWER, registered).await {
                Ok(Ok(())) => {
                    tracing::info!(node = self.config.identity.name, "registered");
                    retry.answered();
                    return status;
                }
                Ok(Err(error)) => tracing::debug!(%error, "not registered yet"),
                Err(_) => tracing::debug!("not registered yet: no answer"),
            }
            retry.sleep().await;
        }
    }

    async fn create_or_adopt(&self, status: &NodeStatus) -> Result<(), kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        match api.create(&PostParams::default(), &self.object(status)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(answer)) if answer.code == 409 => {
                let labels = json!({"metadata": {"labels": self.labels()}});
                api.patch(&self.config.identity.name, &PatchParams::default(), &Patch::Merge(labels)).await.map(drop)
            }
            Err(error) => Err(error),
        }
    }

    fn object(&self, status: &NodeStatus) -> Node {
        let identity = &self.config.identity;
        Node {
            metadata: ObjectMeta {
                name: Some(identity.name.clone()),
                labels: Some(self.labels()),
                annotations: Some(
                    [("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned())].into(),
                ),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                taints: Some(identity.taints.clone()).filter(|taints| !taints.is_empty()),
                ..NodeSpec::default()
            }),
            status: Some(status.clone()),
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let arch = component_base::version::architecture();
        let identity = &self.config.identity;
        let own = [
            ("kubernetes.io/hostname", identity.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", arch),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", arch),
        ];
        let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        own.chain(identity.labels.clone()).collect()
    }

    async fn picture(&mut self, info: &NodeSystemInfo, before: &NodeStatus) -> NodeStatus {
        let images = self.runtime.list_images().await.unwrap_or_default();
        let state = self.state.borrow_and_update().clone();
        let pressure = self.pressure.borrow_and_update().clone();
        status::status(&Picture {
            name: &self.config.identity.name,
            ips: &self.ips,
            sizes: facts::sizes(&self.config.root),
            pressure: &pressure,
            info,
            pods: &self.config.pods,
            port: self.config.serving.address.port(),
            readiness: &state.readiness,
            images: &images,
            before,
            now: Timestamp::now(),
        })
    }

    async fn patch(&self, status: &NodeStatus) -> Result<(), kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let mut wanted = json!(status);
        // Addresses are merged by kind, and there may be two of one kind.
        if let Some(Value::Array(addresses)) = wanted.get_mut("addresses") {
            addresses.insert(0, json!({"$patch": "replace"}));
        }
        let patch = json!({"status": wanted});
        api.patch_status(&self.config.identity.name, &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop)
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use controller_runtime::Informer;
    use controller_runtime::fake::FakeApi;
    use cri::fake::FakeRuntime;
    use http::StatusCode;

    use super::*;
    use crate::config::Args;
    use crate::node::status::Readiness;

    const NODE: &str = "/api/v1/nodes/n1";

    type Senders = (watch::Sender<RuntimeState>, watch::Sender<Pressure>);

    fn registration(api: &FakeApi, token: &CancellationToken) -> (Registration, Senders) {
        let args = Args::parse_from(["kubelet", "--hostname-override=n1", "--node-ip=192.0.2.1"]);
        let (states, state) = watch::channel(RuntimeState::unknown());
        let (shortages, pressure) = watch::channel(Pressure::new());
        let registration = Registration {
            client: api.client(),
            config: Arc::new(Config::try_from(args).unwrap()),
            ips: vec!["192.0.2.1".parse().unwrap()],
            runtime: Arc::new(FakeRuntime::new()),
            runtime_version: "fake://1".to_owned(),
            state,
            pressure,
            node: Informer::new(Api::all(api.client())).start(token.clone()),
        };
        (registration, (states, shortages))
    }

    fn is_ready(api: &FakeApi) -> bool {
        let node = api.get(NODE).unwrap_or_default();
        let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_registers_and_becomes_ready_as_soon_as_the_server_takes_its_word() {
        let (api, token) = (FakeApi::new(), CancellationToken::new());
        api.set_down(true);
        let (registration, (state, _shortages)) = registration(&api, &token);
        tokio::spawn(registration.run(token.clone()));
        tokio::time::sleep(Duration::from_secs(30)).await;
        api.set_down(false);
        tokio::time::sleep(Duration::from_millis(101)).await;
        assert!(api.get(NODE).is_some() && !is_ready(&api));
        tokio::time::sleep(Duration::from_secs(3)).await;
        for _ in 0..3 {
            api.fail_next(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let well = RuntimeState { runtime: true, network: true, readiness: Readiness { problems: Vec::new() } };
        state.send(well).unwrap();
        tokio::time::sleep(Duration::from_millis(301)).await;
        assert!(is_ready(&api), "what was not heard is said again, not only with the next heartbeat");
        token.cancel();
    }
}
