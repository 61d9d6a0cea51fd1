//! Which slices a service should have. A slice that is right is left alone, so watchers hear only of real changes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::ownership::{is_deleting, labels, reference};
use crate::pods;

pub(super) const SERVICE_LABEL: &str = "kubernetes.io/service-name";
pub(super) const MANAGED_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// The most endpoints in a slice: one pod that changes should not cost every node a long list.
const SLICE_SIZE: usize = 100;

pub(super) struct Observed<'a> {
    pub(super) service: &'a Service,
    /// The pods it selects.
    pub(super) pods: &'a [Arc<Pod>],
    /// The slices this controller made for it.
    pub(super) slices: &'a [Arc<EndpointSlice>],
    /// The zone of a node.
    pub(super) zone: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

#[derive(Debug)]
pub(super) enum Action {
    Create(Box<EndpointSlice>),
    Replace(Box<EndpointSlice>),
    Delete(String),
}

/// Whether a service selects a pod.
pub(super) fn selects(service: &Service, pod: &Pod) -> bool {
    let selector =
        service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).filter(|selector| !selector.is_empty());
    selector.is_some_and(|selector| selector.iter().all(|(key, value)| labels(pod).get(key) == Some(value)))
}

/// Whether a change of a pod can change an endpoint.
pub(super) fn matters(old: &Pod, new: &Pod) -> bool {
    let ips = |pod: &Pod| pod.status.as_ref().and_then(|status| status.pod_ips.clone());
    pods::is_ready(old) != pods::is_ready(new)
        || pods::phase(old) != pods::phase(new)
        || pods::node(old) != pods::node(new)
        || is_deleting(old) != is_deleting(new)
        || labels(old) != labels(new)
        || ips(old) != ips(new)
        || old.metadata.uid != new.metadata.uid
}

pub(super) fn plan(observed: &Observed<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut wanted: BTreeMap<(String, String), (Vec<EndpointPort>, Vec<Endpoint>)> = BTreeMap::new();
    for family in families(observed.service) {
        let mut any = false;
        for pod in observed.pods {
            let Some(endpoint) = endpoint(observed, pod, family) else { continue };
            let ports = ports(observed.service, pod);
            wanted.entry((family.to_owned(), port_key(&ports))).or_insert_with(|| (ports, Vec::new())).1.push(endpoint);
            any = true;
        }
        if !any {
            // An empty slice says that there is no endpoint, which is more than saying nothing.
            wanted.insert((family.to_owned(), String::new()), (Vec::new(), Vec::new()));
        }
    }
    let mut spare: Vec<&Arc<EndpointSlice>> =
        observed.slices.iter().filter(|slice| !is_deleting(slice.as_ref())).collect();
    for ((family, key), (ports, endpoints)) in wanted {
        let (mut fitting, others): (Vec<_>, Vec<_>) = spare.into_iter().partition(|slice| {
            slice.address_type == family && port_key(slice.ports.as_deref().unwrap_or_default()) == key
        });
        spare = others;
        actions.extend(fill(observed.service, (&family, &ports), endpoints, &mut fitting));
        spare.extend(fitting);
    }
    actions.extend(spare.into_iter().filter_map(|slice| slice.metadata.name.clone()).map(Action::Delete));
    actions
}

/// Puts endpoints into slices: those that are in one stay there, new ones fill it up.
fn fill(
    service: &Service,
    (family, ports): (&str, &[EndpointPort]),
    endpoints: Vec<Endpoint>,
    slices: &mut Vec<&Arc<EndpointSlice>>,
) -> Vec<Action> {
    let mut left: BTreeMap<String, Endpoint> =
        endpoints.into_iter().map(|endpoint| (endpoint_key(&endpoint), endpoint)).collect();
    let mut kept: Vec<(Option<&Arc<EndpointSlice>>, Vec<Endpoint>)> = slices
        .drain(..)
        .map(|slice| {
            (Some(slice), slice.endpoints.iter().filter_map(|endpoint| left.remove(&endpoint_key(endpoint))).collect())
        })
        .collect();
    let mut left = left.into_values();
    for (_, own) in &mut kept {
        let room = SLICE_SIZE.saturating_sub(own.len());
        own.extend(left.by_ref().take(room));
    }
    loop {
        let chunk: Vec<Endpoint> = left.by_ref().take(SLICE_SIZE).collect();
        if chunk.is_empty() && !kept.is_empty() {
            break;
        }
        let done = chunk.is_empty();
        kept.push((None, chunk));
        if done {
            break;
        }
    }
    let populated = kept.iter().any(|(_, own)| !own.is_empty());
    let mut first = true;
    let mut actions = Vec::new();
    for (slice, own) in kept {
        let surplus = own.is_empty() && (populated || !first);
        first = false;
        match slice {
            Some(slice) if surplus => actions.extend(slice.metadata.name.clone().map(Action::Delete)),
            None if surplus => {}
            Some(slice) => actions.extend(changed(service, slice, ports, own)),
            None => actions.push(Action::Create(Box::new(made(service, family, ports, own)))),
        }
    }
    actions
}

fn changed(
    service: &Service,
    slice: &EndpointSlice,
    ports: &[EndpointPort],
    endpoints: Vec<Endpoint>,
) -> Option<Action> {
    let mut wanted = slice.clone();
    wanted.endpoints = endpoints;
    wanted.ports = Some(ports.to_vec());
    wanted.metadata.labels = Some(slice_labels(service));
    let same_ports = slice.ports.as_deref().unwrap_or_default() == ports;
    let same = slice.endpoints == wanted.endpoints && same_ports && slice.metadata.labels == wanted.metadata.labels;
    (!same).then(|| Action::Replace(Box::new(wanted)))
}

fn made(service: &Service, family: &str, ports: &[EndpointPort], endpoints: Vec<Endpoint>) -> EndpointSlice {
    let metadata = ObjectMeta {
        generate_name: Some(format!("{}-", service.metadata.name.as_deref().unwrap_or_default())),
        namespace: service.metadata.namespace.clone(),
        labels: Some(slice_labels(service)),
        owner_references: Some(vec![reference(service)]),
        ..ObjectMeta::default()
    };
    EndpointSlice { metadata, address_type: family.to_owned(), endpoints, ports: Some(ports.to_vec()) }
}

fn slice_labels(service: &Service) -> BTreeMap<String, String> {
    let mut all = labels(service).clone();
    all.retain(|key, _| key != HEADLESS_LABEL);
    all.insert(SERVICE_LABEL.to_owned(), service.metadata.name.clone().unwrap_or_default());
    all.insert(MANAGED_LABEL.to_owned(), MANAGER.to_owned());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        all.insert(HEADLESS_LABEL.to_owned(), String::new());
    }
    all
}

fn families(service: &Service) -> Vec<&'static str> {
    let named = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    let mut families: Vec<_> = named.iter().map(|family| if family == "IPv6" { "IPv6" } else { "IPv4" }).collect();
    if families.is_empty() {
        families.push("IPv4");
    }
    families
}

fn endpoint(observed: &Observed<'_>, pod: &Pod, family: &str) -> Option<Endpoint> {
    if pods::has_ended(pod) {
        return None;
    }
    let status = pod.status.as_ref()?;
    let address =
        status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).chain(status.pod_ip.as_deref()).find(|ip| {
            let ip: Option<IpAddr> = ip.parse().ok();
            ip.is_some_and(|ip| ip.is_ipv6() == (family == "IPv6"))
        })?;
    let spec = observed.service.spec.as_ref();
    let publishes = spec.and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    let (serving, terminating) = (pods::is_ready(pod), is_deleting(pod));
    let node = Some(pods::node(pod)).filter(|node| !node.is_empty());
    let service_name = observed.service.metadata.name.as_deref();
    let in_service = pod.spec.as_ref().and_then(|spec| spec.subdomain.as_deref()) == service_name;
    Some(Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(publishes || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: pod.spec.as_ref().and_then(|spec| spec.hostname.clone()).filter(|_| in_service),
        node_name: node.map(str::to_owned),
        zone: node.and_then(observed.zone),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    })
}

/// The ports of a service as a pod has them: a named target port may be another number in each pod.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let all = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let found = all.filter_map(|port| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        let number = match port.target_port.as_ref() {
            None => port.port,
            Some(IntOrString::Int(0)) => port.port,
            Some(IntOrString::Int(number)) => *number,
            Some(IntOrString::String(name)) => container_port(pod, name, &protocol)?,
        };
        let name = Some(port.name.clone().unwrap_or_default());
        Some(EndpointPort {
            name,
            port: Some(number),
            protocol: Some(protocol),
            app_protocol: port.app_protocol.clone(),
        })
    });
    found.collect()
}

fn container_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let restartable =
        spec.init_containers.iter().flatten().filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(restartable).flat_map(|container| container.ports.iter().flatten());
    let mut fitting = ports
        .filter(|port| port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol);
    fitting.next().map(|port| port.container_port)
}

fn port_key(ports: &[EndpointPort]) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut keys: Vec<_> = ports
        .iter()
        .map(|port| {
            format!(
                "{}/{}/{}/{}",
                text(&port.name),
                port.port.unwrap_or(0),
                text(&port.protocol),
                text(&port.app_protocol)
            )
        })
        .collect();
    keys.sort();
    keys.join(",")
}

fn endpoint_key(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()).unwrap_or_default();
    format!("{uid}/{}", endpoint.addresses.join(","))
}

#[cfg(test)]
mod tests;
