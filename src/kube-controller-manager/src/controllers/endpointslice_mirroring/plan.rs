//! Which slices mirror some endpoints. A slice that is right is left alone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::ownership::{labels, reference};

pub(super) const SERVICE_LABEL: &str = "kubernetes.io/service-name";
pub(super) const MANAGED_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";

/// The most addresses of one subset that are mirrored: as many as a slice may hold.
const SUBSET_SIZE: usize = 1000;

/// Annotations that are about the endpoints themselves.
const OWN_ANNOTATIONS: [&str; 2] =
    ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];

/// The longest name with a dash that still leaves room for the five characters that the server adds.
const NAME_LIMIT: usize = 253;

#[derive(Debug)]
pub(super) enum Action {
    Create(Box<EndpointSlice>),
    Replace(Box<EndpointSlice>),
    Delete(String),
}

/// Family and ports, and the endpoints that have them.
type Groups = BTreeMap<(&'static str, Vec<String>), (Vec<EndpointPort>, BTreeMap<IpAddr, Endpoint>)>;

/// What to do with the slices there are; without endpoints there shall be none.
pub(super) fn plan(endpoints: Option<&Endpoints>, slices: &[Arc<EndpointSlice>]) -> Vec<Action> {
    let mut spare: Vec<&Arc<EndpointSlice>> = slices.iter().collect();
    let mut actions = Vec::new();
    let mut missing = Vec::new();
    for ((family, key), (ports, members)) in endpoints.map(groups).unwrap_or_default() {
        let Some(endpoints) = endpoints else { continue };
        let wanted = slice(endpoints, family, ports, members.into_values().collect());
        let fits = |slice: &&Arc<EndpointSlice>| {
            slice.address_type == family && port_key(slice.ports.as_deref().unwrap_or_default()) == key
        };
        match spare.iter().position(fits) {
            Some(at) => actions.extend(changed(spare.remove(at), wanted)),
            None => missing.push(wanted),
        }
    }
    for wanted in missing {
        // A slice nobody needs is used again rather than removed beside a new one; its family cannot change.
        match spare.iter().position(|slice| slice.address_type == wanted.address_type) {
            Some(at) => actions.extend(changed(spare.remove(at), wanted)),
            None => actions.push(Action::Create(Box::new(wanted))),
        }
    }
    actions.extend(spare.into_iter().filter_map(|slice| slice.metadata.name.clone()).map(Action::Delete));
    actions
}

fn groups(endpoints: &Endpoints) -> Groups {
    let mut groups = Groups::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Vec<EndpointPort> = subset.ports.iter().flatten().map(port).collect();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let others = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let valid = ready.chain(others).filter_map(|(address, ready)| endpoint(address, ready));
        for (ip, endpoint) in valid.take(SUBSET_SIZE) {
            let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
            let (_, members) =
                groups.entry((family, port_key(&ports))).or_insert_with(|| (ports.clone(), BTreeMap::new()));
            members.insert(ip, endpoint);
        }
    }
    groups
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Option<(IpAddr, Endpoint)> {
    let ip: IpAddr = address.ip.parse().ok()?;
    let endpoint = Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        ..Endpoint::default()
    };
    Some((ip, endpoint))
}

fn port(port: &k8s_openapi::api::core::v1::EndpointPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    }
}

fn port_key(ports: &[EndpointPort]) -> Vec<String> {
    let mut keys: Vec<String> =
        ports.iter().map(|p| format!("{:?}/{:?}/{:?}/{:?}", p.name, p.port, p.protocol, p.app_protocol)).collect();
    keys.sort();
    keys
}

fn slice(endpoints: &Endpoints, family: &str, ports: Vec<EndpointPort>, members: Vec<Endpoint>) -> EndpointSlice {
    let name = endpoints.metadata.name.clone().unwrap_or_default();
    let mut all = labels(endpoints).clone();
    all.insert(SERVICE_LABEL.to_owned(), name.clone());
    all.insert(MANAGED_LABEL.to_owned(), MANAGER.to_owned());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    let dash = if name.len() < NAME_LIMIT { "-" } else { "" };
    let metadata = ObjectMeta {
        generate_name: Some(format!("{name}{dash}")),
        namespace: endpoints.metadata.namespace.clone(),
        labels: Some(all),
        annotations: Some(annotations).filter(|all| !all.is_empty()),
        owner_references: Some(vec![reference(endpoints)]),
        ..ObjectMeta::default()
    };
    EndpointSlice { metadata, address_type: family.to_owned(), endpoints: members, ports: Some(ports) }
}

/// The slice as it shall be, if it is not.
fn changed(slice: &EndpointSlice, mut wanted: EndpointSlice) -> Option<Action> {
    let meta = std::mem::take(&mut wanted.metadata);
    wanted.metadata = ObjectMeta {
        labels: meta.labels,
        annotations: meta.annotations,
        owner_references: meta.owner_references,
        ..slice.metadata.clone()
    };
    let by_address = |slice: &EndpointSlice| {
        let mut all = slice.endpoints.clone();
        all.sort_by(|one, other| one.addresses.cmp(&other.addresses));
        all
    };
    let same = by_address(slice) == by_address(&wanted)
        && port_key(slice.ports.as_deref().unwrap_or_default())
            == port_key(wanted.ports.as_deref().unwrap_or_default())
        && slice.metadata == wanted.metadata;
    (!same).then(|| Action::Replace(Box::new(wanted)))
}
