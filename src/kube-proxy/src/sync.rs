//! The story of the proxy: a change is noted, changes of a moment are taken together, each changed
//! Service is read afresh, and one transaction brings the kernel up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use controller_runtime::{ObjectKey, Store};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use netfilter::{Conntrack, Family, Nftables, UdpFlows};
use tokio_util::sync::CancellationToken;

pub use crate::changes::Changed;
use crate::changes::{Noted, stale_flows};
use crate::drift::Drift;
use crate::endpoints;
use crate::fragment::Fragment;
use crate::health::Health;
use crate::health_ports::HealthPorts;
use crate::node::{self, NodeFacts, PodTraffic};
use crate::rules;
use crate::service::{self, ServiceName, TrafficPolicy, VirtualService};
use crate::table::{Owner, Remembered, TABLE, Table};

/// The label that says whose endpoints a slice holds.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The index of slices by namespace and Service.
pub const BY_SERVICE: &str = "service";
/// How long the rules are left to others who write to the same tables, so that two of a kind do not keep a host busy.
const YIELD: Duration = Duration::from_secs(1);
/// First and longest wait before a failed transaction is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// What the proxy follows.
#[derive(Clone)]
pub struct Inputs {
    /// All Services.
    pub services: Store<Service>,
    /// All slices of endpoints, indexed by [`BY_SERVICE`].
    pub slices: Store<EndpointSlice>,
    /// This node, and others that do not matter here.
    pub nodes: Store<Node>,
}

/// How the proxy was told to work.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node as far as it is known without its Node object.
    pub node: NodeFacts,
    /// Networks in which node ports are answered; empty means the node's primary addresses.
    pub port_networks: Vec<ipnet::IpNet>,
    /// Whether pod traffic is recognised by the node's own pod networks.
    pub pods_by_node: bool,
    /// How long changes are gathered before they are applied.
    pub window: Duration,
}

/// The keys of the index [`BY_SERVICE`].
pub fn service_of_slice(slice: &EndpointSlice) -> Vec<String> {
    slice_owner(slice).map(|name| name.to_string()).into_iter().collect()
}

fn slice_owner(slice: &EndpointSlice) -> Option<ServiceName> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?.clone();
    Some(ServiceName { namespace: slice.metadata.namespace.clone().unwrap_or_default(), name })
}

/// Services as they are now; `None` for those that are gone or not for this proxy.
type Services = BTreeMap<ServiceName, Option<VirtualService>>;

/// The proxy: the wanted tables and the host they are written to.
pub struct Proxy<H> {
    host: H,
    inputs: Inputs,
    settings: Settings,
    node: NodeFacts,
    tables: [Installed; 2],
    /// UDP flows to forget once the rules no longer lead them astray.
    stale: BTreeSet<UdpFlows>,
    health: Arc<Health>,
    health_ports: HealthPorts,
    drift: Drift,
    /// Transactions the kernel took since the last look at `drift`.
    applied: usize,
}

struct Installed {
    family: Family,
    table: Table,
    /// The commands from the state before the last change to the state after it.
    next: String,
    /// Whether the kernel is known to hold what `table` says.
    in_kernel: bool,
    /// Whether the kernel should hold this table at all.
    wanted: bool,
    /// Whether a table left by an earlier run was looked for.
    looked: bool,
}

impl<H: Nftables + Conntrack> Proxy<H> {
    /// A proxy that has written nothing yet.
    pub fn new(host: H, inputs: Inputs, settings: Settings, health: Arc<Health>) -> Self {
        let mark = settings.node.mark;
        let tables = [Family::Ip, Family::Ip6].map(|family| Installed {
            family,
            table: Table::new(family, mark),
            next: String::new(),
            in_kernel: false,
            wanted: false,
            looked: false,
        });
        let health_ports = HealthPorts::new(Arc::clone(&health));
        let node = settings.node.clone();
        let (stale, drift) = (BTreeSet::new(), Drift::default());
        Self { host, inputs, settings, node, tables, stale, health, health_ports, drift, applied: 0 }
    }

    /// The same proxy, which also repairs what others do to its tables.
    #[must_use]
    pub fn repairing(self, drift: Drift) -> Self {
        Self { drift, ..self }
    }

    /// The same proxy with other things to follow.
    #[must_use]
    pub fn with_inputs(self, inputs: Inputs) -> Self {
        Self { inputs, ..self }
    }

    /// Follows changes until the token is cancelled; the rules stay in place afterwards.
    pub async fn run(mut self, token: CancellationToken) {
        let noted = self.follow();
        tokio::select! {
            () = token.cancelled() => return,
            () = async {
                self.inputs.services.synced().await;
                self.inputs.slices.synced().await;
                self.inputs.nodes.synced().await;
            } => {}
        }
        noted.note(|changed| changed.node = true);
        let mut wait = RETRY.0;
        let mut retry_after = None;
        loop {
            tokio::select! {
                goes_on = woken(&noted, retry_after, &token) => if !goes_on { break },
                () = self.drift.disturbed() => self.distrust(&noted),
            }
            self.health.pending();
            tokio::time::sleep(self.settings.window).await;
            let changed = noted.take();
            match self.sync(&changed).await {
                Ok(()) => {
                    self.health.updated();
                    (wait, retry_after) = (RETRY.0, None);
                    if self.drift.others_wrote(std::mem::take(&mut self.applied)) {
                        self.distrust(&noted);
                        retry_after = Some(YIELD);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, retry = ?wait, "rules not applied");
                    noted.put_back(changed);
                    retry_after = Some(wait);
                    wait = (wait * 2).min(RETRY.1);
                }
            }
        }
        self.health_ports.stop();
    }

    /// Has everything written anew.
    fn distrust(&mut self, noted: &Noted) {
        tracing::warn!(table = TABLE, "somebody else changed the rules, they are written anew");
        self.tables.iter_mut().for_each(|table| table.in_kernel = false);
        noted.note(|changed| changed.node = true);
    }

    fn follow(&self) -> Arc<Noted> {
        let noted = Arc::new(Noted::default());
        let note = Arc::clone(&noted);
        self.inputs.services.on_event(move |event| {
            let meta = &event.object().metadata;
            let namespace = meta.namespace.clone().unwrap_or_default();
            let name = ServiceName { namespace, name: meta.name.clone().unwrap_or_default() };
            note.note(|changed| changed.services.extend([name]));
        });
        let note = Arc::clone(&noted);
        self.inputs.slices.on_event(move |event| {
            let owners: Vec<ServiceName> = event.states().filter_map(|s| slice_owner(s)).collect();
            if !owners.is_empty() {
                note.note(|changed| changed.services.extend(owners));
            }
        });
        let (note, own) = (Arc::clone(&noted), self.settings.node.name.clone());
        self.inputs.nodes.on_event(move |event| {
            if event.object().metadata.name.as_deref() == Some(own.as_str()) {
                note.note(|changed| changed.node = true);
            }
        });
        noted
    }

    /// Brings the kernel up to date with one transaction.
    ///
    /// After an error the kernel's state counts as unknown: the next call writes everything.
    pub async fn sync(&mut self, changed: &Changed) -> Result<(), netfilter::NftablesError> {
        let outcome = self.try_sync(changed).await;
        if outcome.is_err() {
            self.tables.iter_mut().for_each(|t| t.in_kernel = false);
        }
        outcome
    }

    async fn try_sync(&mut self, changed: &Changed) -> Result<(), netfilter::NftablesError> {
        let (owners, read) = self.read(changed);
        let mut transaction = String::new();
        for index in 0..self.tables.len() {
            self.change(index, &owners, &read);
            transaction.push_str(&self.text_for(index).await?);
        }
        if !transaction.is_empty() {
            tracing::debug!(services = read.len(), bytes = transaction.len(), "apply");
            self.host.apply(&transaction).await?;
            self.applied += 1;
        }
        for installed in &mut self.tables {
            installed.in_kernel = installed.wanted;
            installed.next.clear();
        }
        for flow in std::mem::take(&mut self.stale) {
            if let Err(error) = self.host.forget_udp(&flow).await {
                tracing::warn!(%error, "stale UDP flows kept");
            }
        }
        for (name, service) in &read {
            self.health_ports.set(name, service.as_ref().and_then(|s| self.health_check(name, s)));
        }
        Ok(())
    }

    /// Who contributes something new, and the services among them as they are now.
    fn read(&mut self, changed: &Changed) -> (Vec<Owner>, Services) {
        let mut owners = Vec::new();
        let mut names = changed.services.clone();
        if changed.node && self.observe_node() {
            owners.push(Owner::Node);
            names.extend(self.inputs.services.list().iter().map(|s| name_of(s)));
            names.extend(self.tables.iter().flat_map(|t| t.table.services().cloned()));
        }
        let read: Services = names
            .into_iter()
            .map(|name| {
                let service = self.inputs.services.get(&ObjectKey::new(&name.namespace, &name.name));
                (name, service.as_deref().and_then(service::read))
            })
            .collect();
        owners.extend(read.keys().cloned().map(Owner::Service));
        (owners, read)
    }

    /// Changes what a table should hold.
    fn change(&mut self, index: usize, owners: &[Owner], read: &Services) {
        let family = self.tables[index].family;
        let mut changes = Vec::with_capacity(owners.len());
        for owner in owners {
            let new = match owner {
                Owner::Node => Some(rules::of_node(&self.node, family)),
                Owner::Service(name) => read.get(name).and_then(Option::as_ref).map(|s| self.fragment(name, s, family)),
            };
            self.stale.extend(stale_flows(self.tables[index].table.fragment(owner), new.as_ref()));
            changes.push((owner.clone(), new));
        }
        let installed = &mut self.tables[index];
        installed.next = installed.table.change(changes);
    }

    /// The commands that bring the kernel's table to what it should hold.
    async fn text_for(&mut self, index: usize) -> Result<String, netfilter::NftablesError> {
        let speaks = self.speaks_ipv6();
        let installed = &mut self.tables[index];
        if installed.in_kernel {
            return Ok(std::mem::take(&mut installed.next));
        }
        let family = installed.family;
        installed.wanted = family == Family::Ip || speaks || !installed.table.is_unused();
        if !installed.wanted && installed.looked {
            return Ok(String::new());
        }
        let json = self.host.list_table(family, TABLE).await?;
        installed.looked = true;
        if !installed.wanted {
            return Ok(json.map(|_| Table::removal(family)).unwrap_or_default());
        }
        let remembered: Remembered = json.as_deref().map(crate::table::remembered).unwrap_or_default();
        Ok(installed.table.full(&remembered))
    }

    fn speaks_ipv6(&self) -> bool {
        self.node.port_addresses.iter().any(IpAddr::is_ipv6)
    }

    fn fragment(&self, name: &ServiceName, service: &VirtualService, family: Family) -> Fragment {
        let slices = self.inputs.slices.by_index(BY_SERVICE, &name.to_string());
        let wanted = if family == Family::Ip { "IPv4" } else { "IPv6" };
        let slices: Vec<_> = slices.iter().filter(|s| s.address_type == wanted).map(AsRef::as_ref).collect();
        let ports: Vec<_> = service
            .ports
            .iter()
            .map(|port| {
                let found = endpoints::of_port(slices.iter().copied(), &port.name, port.protocol, &self.node);
                (port, found)
            })
            .collect();
        rules::of_service(name, service, &ports, (&self.node, family))
    }

    /// The health check port of a Service and how many endpoints this node has for it.
    fn health_check(&self, name: &ServiceName, service: &VirtualService) -> Option<(u16, usize)> {
        let port = service.health_check_port.filter(|_| service.external == TrafficPolicy::Local)?;
        let slices = self.inputs.slices.by_index(BY_SERVICE, &name.to_string());
        let here = |p: &service::VirtualPort| {
            let found = endpoints::of_port(slices.iter().map(AsRef::as_ref), &p.name, p.protocol, &self.node);
            found.iter().filter(|e| e.local && e.ready).map(|e| e.ip).collect::<BTreeSet<_>>()
        };
        Some((port, service.ports.iter().flat_map(here).collect::<BTreeSet<_>>().len()))
    }

    /// Takes over what the Node object says; tells whether the rules depend on what changed.
    fn observe_node(&mut self) -> bool {
        let mut facts = self.settings.node.clone();
        if let Some(object) = self.inputs.nodes.get(&ObjectKey::cluster(&facts.name)) {
            let listed = (!self.settings.port_networks.is_empty())
                .then(|| crate::host::addresses_within(&self.settings.port_networks));
            facts.observe(&object, listed);
            if self.settings.pods_by_node {
                facts.pod_traffic = PodTraffic::Networks(node::pod_networks(&object));
            }
            self.health.observe(&object);
        }
        let is_new = facts != self.node || !self.tables[0].in_kernel;
        self.node = facts;
        is_new
    }
}

/// Waits for something to do: `false` means the end.
async fn woken(noted: &Noted, retry_after: Option<Duration>, token: &CancellationToken) -> bool {
    let retry = async {
        match retry_after {
            Some(wait) => tokio::time::sleep(wait).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = token.cancelled() => false,
        () = noted.wake.notified(), if retry_after.is_none() => true,
        () = retry => true,
    }
}

fn name_of(service: &Service) -> ServiceName {
    ServiceName {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        name: service.metadata.name.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
