//! Building the kubelet from its configuration, running it, and letting go.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use component_base::serving::Listener;
use component_base::tls::{self, TlsFiles};
use controller_runtime::{Event, EventType, Informer, ObjectKey, Recorder, Store};
use cri::Runtime;
use hyper::service::service_fn;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use kube::{Api, Client};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::api_cluster::ApiCluster;
use crate::bootstrap;
use crate::cgroup::Cgroups;
use crate::cluster::{Cluster, Offline};
use crate::config::Config;
use crate::node::network::{self, RuntimeState};
use crate::node::registration::Registration;
use crate::node::{addresses, facts, status};
use crate::node_context::{Ledger, NodeContext, Reporter, StatusUpdate};
use crate::paths::Paths;
use crate::pod::dns::{self, DnsSettings};
use crate::pod::identity;
use crate::pods::Pods;
use crate::runtime_events::RuntimeEvents;
use crate::server::Server;
use crate::server::auth::Gate;
use crate::sources::files::{self, StaticPods};
use crate::sources::mirror::Mirrors;
use crate::status_writer::StatusWriter;
use crate::sync::finish::remove_orphan;

/// Where runtimes look for network plugins.
const CNI: &str = "/etc/cni/net.d";
/// The rest between two calls to a runtime that does not answer yet.
const RUNTIME_RETRY: Duration = Duration::from_millis(200);
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
    let version = runtime_version(runtime.as_ref()).await;
    let client = connect(&config).await?;
    let ips = addresses::node_ips(&config.identity.ips);
    let (wake, woken) = mpsc::unbounded_channel();
    let (statuses, updates) = mpsc::unbounded_channel();
    let (network_sender, network_ready) = watch::channel(false);
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
    let static_pods = match &config.pods.static_path {
        Some(path) => files::follow(path.clone(), config.identity.name.clone()),
        None => watch::channel(StaticPods::new()).1,
    };
    tokio::spawn(apply_static(static_pods.clone(), pods.clone()));
    tokio::spawn(pass_on(woken, pods.clone()));
    tokio::spawn(
        RuntimeEvents { runtime: runtime.clone(), pods: pods.clone(), changed: changed.clone() }.run(token.clone()),
    );
    serve(
        &config,
        Arc::new(Server { pods: pods.clone(), node: node.clone(), gate: gate(&config, client.clone()), changed }),
        (client, ips.clone()),
        &token,
    )
    .await?;
    match followed {
        Some(followed) => {
            let registration = Registration {
                client: followed.client.clone(),
                config: config.clone(),
                ips,
                runtime,
                runtime_version: format!("{}://{}", version.runtime_name, version.runtime_version),
                state,
                node: followed.node.clone(),
            };
            tokio::spawn(registration.run(token.clone()));
            with_api(&config, followed, (pods, node), (updates, static_pods), token.clone()).await;
        }
        None => without_api(updates, &pods, &node).await,
    }
    token.cancelled().await;
    Ok(())
}

async fn runtime_version(runtime: &dyn Runtime) -> cri::api::VersionResponse {
    let mut told = false;
    loop {
        match runtime.version().await {
            Ok(version) => return version,
            Err(error) if !told => {
                tracing::warn!(%error, "waiting for the container runtime");
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RUNTIME_RETRY).await;
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
    tokio::spawn(give_pod_cidr(runtime, given, node, again));
    state
}

async fn give_pod_cidr(
    runtime: Arc<dyn Runtime>,
    given: Option<String>,
    node: Option<Store<Node>>,
    again: Arc<Notify>,
) {
    let give = async |cidr: String| {
        while let Err(error) = runtime.update_pod_cidr(cidr.clone()).await {
            tracing::warn!(cidr, %error, "the runtime was not told the range of pods");
            tokio::time::sleep(RUNTIME_RETRY).await;
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

async fn apply_static(mut static_pods: watch::Receiver<StaticPods>, pods: Arc<Pods>) {
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

async fn pass_on(mut woken: mpsc::UnboundedReceiver<String>, pods: Arc<Pods>) {
    while let Some(uid) = woken.recv().await {
        pods.wake(&uid);
    }
}

async fn with_api(
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
        _ => match store.get(&ObjectKey::of(event.object().as_ref())) {
            Some(newest) => apply(pods, &newest),
            None => tracing::trace!("the pod is gone already"),
        },
    }
}

async fn without_api(mut updates: mpsc::UnboundedReceiver<StatusUpdate>, pods: &Arc<Pods>, node: &Arc<NodeContext>) {
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

async fn serve(
    config: &Arc<Config>,
    server: Arc<Server>,
    (client, ips): (Option<Client>, Vec<IpAddr>),
    token: &CancellationToken,
) -> anyhow::Result<()> {
    if let Some(address) = config.serving.healthz {
        let listener = Listener::bind(address).await?;
        let checks = Arc::new(component_base::health::Checks::new());
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let response = checks.respond(request.uri().path(), request.uri().query());
            async move { Ok::<_, std::convert::Infallible>(response) }
        });
        tokio::spawn(listener.serve_http(service, token.clone()));
    }
    let listener = Listener::bind(config.serving.address).await?;
    let service = service_fn(move |request| server.clone().answer(request));
    let client_ca = config.serving.access.client_ca.clone();
    let files = |(cert, key)| TlsFiles { cert, key, client_ca: client_ca.clone() };
    let config = config.clone();
    let tls = match (&config.serving.certificate, client.filter(|_| config.serving.bootstrap)) {
        (Some(pair), _) => tls::server_config(files(pair.clone()))?,
        (None, Some(client)) => {
            // Nobody can be served before the certificate is signed; everything else goes on meanwhile.
            let token = token.clone();
            tokio::spawn(async move {
                let made = bootstrap::serving_certificate(&client, &config.cert_dir, &config.identity.name, &ips).await;
                let served = made.and_then(|(cert, key)| Ok(tls::server_config(TlsFiles { cert, key, client_ca })?));
                match served {
                    Ok(tls) => listener.serve_https(tls, service, token).await,
                    Err(error) => tracing::error!("no serving certificate: {error:#}"),
                }
            });
            return Ok(());
        }
        (None, None) => {
            let hosts =
                std::iter::once(config.identity.name.clone()).chain(ips.iter().map(IpAddr::to_string)).collect();
            tls::self_signed_config(hosts, client_ca)?
        }
    };
    tokio::spawn(listener.serve_https(tls, service, token.clone()));
    Ok(())
}
