//! Building the kubelet from its configuration, running it, and letting go.

mod flow;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use controller_runtime::{EventType, Informer, Recorder, Retry, Store};
use cri::Runtime;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use kube::{Api, Client};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::api_cluster::ApiCluster;
use crate::bootstrap;
use crate::cgroup::Cgroups;
use crate::cluster::{Cluster, Offline};
use crate::config::Config;
use crate::eviction::{Evictor, Pressure};
use crate::image_gc::ImageCollector;
use crate::log_rotation;
use crate::node::network::{self, RuntimeState};
use crate::node::registration::Registration;
use crate::node::{addresses, facts, runtime_socket, status};
use crate::node_context::{Ledger, NodeContext, Reporter};
use crate::paths::Paths;
use crate::pod::dns::{self, DnsSettings};
use crate::pods::Pods;
use crate::runtime_events::RuntimeEvents;
use crate::server::auth::Gate;
use crate::server::{Server, listen};
use crate::sources::files::{self, StaticPods};

/// Where runtimes look for network plugins.
const CNI: &str = "/etc/cni/net.d";
/// The longest rest between two calls to a runtime that fails.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// The root of control groups.
const CGROUPS: &str = "/sys/fs/cgroup";

impl Reporter for Recorder {
    fn report(&self, about: &ObjectReference, warning: bool, reason: &str, message: &str) {
        self.event(about, if warning { EventType::Warning } else { EventType::Normal }, reason, message);
    }
}

/// Events of a node without an API go to the log.
struct LogReporter;

impl Reporter for LogReporter {
    fn report(&self, about: &ObjectReference, warning: bool, reason: &str, message: &str) {
        let pod = about.name.as_deref().unwrap_or_default();
        tracing::info!(pod, warning, reason, message, "event");
    }
}

/// What is followed in the API.
struct Followed {
    client: Client,
    pods: Store<Pod>,
    node: Store<Node>,
}

/// Runs the kubelet until the token is cancelled. Containers go on without it.
pub async fn run(config: Config, token: CancellationToken) -> anyhow::Result<()> {
    tokio::select! {
        () = token.cancelled() => Ok(()),
        result = live(Arc::new(config), token.clone()) => result,
    }
}

async fn live(config: Arc<Config>, token: CancellationToken) -> anyhow::Result<()> {
    let runtime: Arc<dyn Runtime> = Arc::new(cri::Client::new(&config.runtime_endpoint)?);
    let version = runtime_version(runtime.as_ref(), &runtime_socket::path(&config.runtime_endpoint)).await;
    let client = connect(&config).await?;
    let ips = addresses::node_ips(&config.identity.ips);
    let (wake, woken) = mpsc::unbounded_channel();
    let (statuses, updates) = mpsc::unbounded_channel();
    let (network_sender, network_ready) = watch::channel(false);
    let (pressure, shortages) = watch::channel(Pressure::new());
    let followed = client.clone().map(|client| follow(&config, client, &token));
    let node = Arc::new(NodeContext {
        node_name: config.identity.name.clone(),
        host_ips: ips.iter().map(IpAddr::to_string).collect(),
        runtime: runtime.clone(),
        runtime_name: version.runtime_name.clone(),
        cluster: cluster(followed.as_ref(), wake, &token),
        reporter: reporter(&config, client.clone()),
        statuses,
        network_ready,
        pressure: shortages.clone(),
        paths: Paths::new(&config.root, &config.pods.logs),
        cgroups: Cgroups::new(config.pods.cgroup_driver, CGROUPS),
        dns: dns_settings(&config),
        offer: status::offer(facts::sizes(&config.root), &config.pods),
        seccomp_root: config.root.join("seccomp"),
        ledger: Ledger::default(),
    });
    let pods = Pods::new(node.clone());
    let (changed, _) = broadcast::channel(256);
    let state = follow_network(&config, runtime.clone(), followed.as_ref(), (pods.clone(), network_sender), &token);
    let static_pods = static_pods(&config);
    tokio::spawn(flow::apply_static(static_pods.clone(), pods.clone()));
    tokio::spawn(flow::pass_on(woken, pods.clone()));
    tokio::spawn(
        RuntimeEvents { runtime: runtime.clone(), pods: pods.clone(), changed: changed.clone() }.run(token.clone()),
    );
    keep_room(&config, &node, &pods, pressure, &token);
    let gate = gate(&config, client.clone());
    let server = Arc::new(Server { pods: pods.clone(), node: node.clone(), gate, changed });
    listen::serve(&config, server, (client, ips.clone()), &token).await?;
    match followed {
        Some(followed) => {
            let registration = Registration {
                client: followed.client.clone(),
                config: config.clone(),
                ips,
                runtime,
                runtime_version: format!("{}://{}", version.runtime_name, version.runtime_version),
                state,
                pressure: shortages,
                node: followed.node.clone(),
            };
            tokio::spawn(registration.run(token.clone()));
            flow::with_api(&config, followed, (pods, node), (updates, static_pods), token.clone()).await;
        }
        None => flow::without_api(updates, &pods, &node),
    }
    token.cancelled().await;
    Ok(())
}

/// What keeps the node from filling up.
fn keep_room(
    config: &Config,
    node: &Arc<NodeContext>,
    pods: &Arc<Pods>,
    pressure: watch::Sender<Pressure>,
    token: &CancellationToken,
) {
    tokio::spawn(log_rotation::run(node.clone(), config.pods.log_limits.clone(), token.clone()));
    let images = Arc::new(ImageCollector::new(node.clone(), config.pods.image_limits.clone()));
    tokio::spawn(images.clone().run(token.clone()));
    let settings = config.pods.eviction.clone();
    let evictor = Evictor { node: node.clone(), pods: pods.clone(), images, settings, pressure };
    tokio::spawn(evictor.run(token.clone()));
}

fn static_pods(config: &Config) -> watch::Receiver<StaticPods> {
    match &config.pods.static_path {
        Some(path) => files::follow(path.clone(), config.identity.name.clone()),
        None => watch::channel(StaticPods::new()).1,
    }
}

async fn runtime_version(runtime: &dyn Runtime, socket: &Path) -> cri::api::VersionResponse {
    let mut told = false;
    let mut retry = Retry::new(LONGEST_REST);
    loop {
        match runtime.version().await {
            Ok(version) => return version,
            Err(error) if !told => {
                tracing::warn!(%error, "waiting for the container runtime");
                told = true;
            }
            Err(_) => {}
        }
        // A runtime without its socket has not started; one with it may still be loading what answers.
        if !socket.exists() && runtime_socket::appears(socket).await.is_ok() {
            continue;
        }
        retry.sleep().await;
    }
}

async fn connect(config: &Config) -> anyhow::Result<Option<Client>> {
    let Some(kubeconfig) = &config.kubeconfig else { return Ok(None) };
    if !kubeconfig.exists() {
        let bootstrap =
            config.bootstrap_kubeconfig.as_ref().with_context(|| format!("{} does not exist", kubeconfig.display()))?;
        bootstrap::client_certificate(bootstrap, kubeconfig, &config.cert_dir, &config.identity.name)
            .await
            .context("cannot get a client certificate")?;
    }
    let agent = format!("kubelet/{}", component_base::version::GIT_VERSION);
    Ok(Some(component_base::client::connect(kubeconfig, &agent).await?))
}

fn follow(config: &Config, client: Client, token: &CancellationToken) -> Followed {
    let name = &config.identity.name;
    let pods = Informer::new(Api::all(client.clone())).fields(&format!("spec.nodeName={name}")).start(token.clone());
    let node = Informer::new(Api::all(client.clone())).fields(&format!("metadata.name={name}")).start(token.clone());
    Followed { client, pods, node }
}

fn cluster(
    followed: Option<&Followed>,
    wake: mpsc::UnboundedSender<String>,
    token: &CancellationToken,
) -> Arc<dyn Cluster> {
    match followed {
        Some(followed) => {
            let services = Informer::<Service>::new(Api::all(followed.client.clone())).start(token.clone());
            Arc::new(ApiCluster::new(followed.client.clone(), services, wake))
        }
        None => Arc::new(Offline),
    }
}

fn reporter(config: &Config, client: Option<Client>) -> Arc<dyn Reporter> {
    match client {
        Some(client) => Arc::new(Recorder::new(client, "kubelet", &config.identity.name)),
        None => Arc::new(LogReporter),
    }
}

fn dns_settings(config: &Config) -> DnsSettings {
    let host = std::fs::read_to_string(&config.pods.resolv_conf).unwrap_or_default();
    DnsSettings {
        servers: config.pods.cluster_dns.clone(),
        domain: config.pods.cluster_domain.clone(),
        host: dns::parse(&host),
    }
}

fn gate(config: &Config, client: Option<Client>) -> Gate {
    Gate::new(config.serving.access.clone(), &config.identity.name, client)
}

/// Keeps an eye on the runtime's network, and tells the runtime the range of pods as soon as it is known.
fn follow_network(
    config: &Arc<Config>,
    runtime: Arc<dyn Runtime>,
    followed: Option<&Followed>,
    (pods, ready): (Arc<Pods>, watch::Sender<bool>),
    token: &CancellationToken,
) -> watch::Receiver<RuntimeState> {
    let (sender, state) = watch::channel(RuntimeState::unknown());
    let again = Arc::new(Notify::new());
    let (asked, repeated, stop) = (runtime.clone(), again.clone(), token.clone());
    tokio::spawn(async move { network::follow(asked, Path::new(CNI), repeated, sender, stop).await });
    let mut seen = state.clone();
    tokio::spawn(async move {
        while seen.changed().await.is_ok() {
            let network = seen.borrow_and_update().network;
            if ready.send_replace(network) != network {
                tracing::info!(network, "the network of pods");
                pods.wake_all();
            }
        }
    });
    let (given, node) = (config.pods.pod_cidr.clone(), followed.map(|followed| followed.node.clone()));
    tokio::spawn(flow::give_pod_cidr(runtime, given, node, again));
    state
}
