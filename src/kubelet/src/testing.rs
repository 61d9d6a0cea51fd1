//! A node for tests: a fake runtime, no API, and folders of its own.

use std::path::Path;
use std::sync::{Arc, Mutex};

use cri::fake::FakeRuntime;
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::sync::{mpsc, watch};

use crate::cgroup::{Cgroups, Driver};
use crate::cluster::Offline;
use crate::eviction::Pressure;
use crate::node_context::{Ledger, NodeContext, Offer, Reporter, StatusUpdate};
use crate::paths::Paths;
use crate::pod::dns::DnsSettings;

/// What users were told, as `reason: message`.
#[derive(Default)]
pub(crate) struct Events(Mutex<Vec<String>>);

impl Reporter for Events {
    fn report(&self, _: &ObjectReference, _: bool, reason: &str, message: &str) {
        self.0.lock().unwrap().push(format!("{reason}: {message}"));
    }
}

impl Events {
    /// How often a reason was told.
    pub(crate) fn told(&self, reason: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|event| event.starts_with(&format!("{reason}:"))).count()
    }
}

/// A node and its other ends.
pub(crate) struct TestNode {
    pub(crate) node: Arc<NodeContext>,
    pub(crate) events: Arc<Events>,
    pub(crate) statuses: mpsc::UnboundedReceiver<StatusUpdate>,
    pub(crate) network: watch::Sender<bool>,
    pub(crate) pressure: watch::Sender<Pressure>,
}

pub(crate) fn node(runtime: Arc<FakeRuntime>, folder: &Path) -> TestNode {
    let (sender, statuses) = mpsc::unbounded_channel();
    let (network, network_ready) = watch::channel(true);
    let (pressure, shortages) = watch::channel(Pressure::new());
    let events = Arc::new(Events::default());
    let node = NodeContext {
        node_name: "n1".to_owned(),
        host_ips: vec!["192.0.2.1".to_owned()],
        runtime,
        runtime_name: "fake".to_owned(),
        cluster: Arc::new(Offline),
        reporter: events.clone(),
        statuses: sender,
        network_ready,
        pressure: shortages,
        paths: Paths::new(folder.join("kubelet"), folder.join("logs/pods")),
        cgroups: Cgroups::new(Driver::Cgroupfs, folder.join("cgroup")),
        dns: DnsSettings::default(),
        offer: Offer { cpu: 1000, memory: 1 << 30, pods: 10, memory_capacity: 1 << 30 },
        seccomp_root: folder.to_owned(),
        ledger: Ledger::default(),
    };
    TestNode { node: Arc::new(node), events, statuses, network, pressure }
}
