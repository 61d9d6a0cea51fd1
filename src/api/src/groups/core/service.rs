//! Services and Endpoints. Addresses and node ports are given by the API server, not here.

mod rules;

use crate::check;
use crate::fill::{each, fill, fill_text, make, spec};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, NameRule, Strategy};
use crate::status;
use apimachinery::object::Object;
use apimachinery::value;
use apimachinery::value::Value;

pub(super) const STRATEGY: Strategy = Strategy {
    default,
    prepare_create: |service| {
        service.set_at(&["status"], value!({"loadBalancer": {}}));
    },
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate: rules::validate,
    validate_update: rules::validate_update,
    name: NameRule::Label1035,
    ..NOOP
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Type", |service, _| Value::from(service.str_at(&["spec", "type"]))),
    Column::new("Cluster-IP", |service, _| print::text_or_none(service, &["spec", "clusterIP"])),
    Column::new("External-IP", |service, _| Value::from(external_ip(service))),
    Column::new("Port(s)", |service, _| Value::from(ports(service))),
    AGE,
    Column::new("Selector", |service, _| Value::from(print::labels(service.map_at(&["spec", "selector"])))).wide(),
];

fn default(service: &mut Object) {
    let spec = spec(service);
    fill_text(spec, "sessionAffinity", "None");
    if spec.str("sessionAffinity") == "ClientIP" {
        fill(make(make(spec, "sessionAffinityConfig"), "clientIP"), "timeoutSeconds", 10_800);
    } else {
        spec.remove("sessionAffinityConfig");
    }
    fill_text(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        fill_text(port, "protocol", "TCP");
        let number = check::number(port, "port").unwrap_or_default();
        let target = port.get("targetPort");
        if target.is_none_or(Value::is_empty) {
            port.insert("targetPort", number);
        }
    }
    let kind = spec.str("type").to_owned();
    if matches!(&*kind, "NodePort" | "LoadBalancer") {
        fill_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(&*kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
        fill(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn external_ip(service: &Object) -> String {
    let external = service.list_at(&["spec", "externalIPs"]);
    let given = print::joined_plain(external.iter().filter_map(Value::as_str));
    match service.str_at(&["spec", "type"]) {
        "LoadBalancer" => {
            let balancer = print::load_balancer(service);
            match (balancer.is_empty(), given.is_empty()) {
                (true, true) => "<pending>".to_owned(),
                (false, false) => format!("{balancer},{given}"),
                _ => balancer + &given,
            }
        }
        "ExternalName" => service.str_at(&["spec", "externalName"]).to_owned(),
        _ => print::or(&given, print::NONE).to_owned(),
    }
}

fn ports(service: &Object) -> String {
    print::joined(service.list_at(&["spec", "ports"]).iter().map(|port| {
        let number = |key| port.get(key).and_then(Value::as_i64).unwrap_or_default();
        let protocol = port.str("protocol");
        match number("nodePort") {
            0 => format!("{}/{protocol}", number("port")),
            node => format!("{}:{node}/{protocol}", number("port")),
        }
    }))
}

pub(super) const ENDPOINTS: Strategy = Strategy {
    default: |endpoints| {
        let subsets = endpoints.as_map_mut();
        for subset in each(subsets, "subsets") {
            each(subset, "ports").for_each(|port| fill_text(port, "protocol", "TCP"));
        }
    },
    validate: rules::validate_endpoints,
    ..NOOP
};

pub(super) const ENDPOINTS_COLUMNS: &[Column] =
    &[NAME, Column::new("Endpoints", |endpoints, _| Value::from(addresses(endpoints))), AGE];

/// The first three of all address and port pairs.
fn addresses(endpoints: &Object) -> String {
    let mut all = Vec::new();
    for subset in endpoints.list_at(&["subsets"]) {
        let ports = subset.list("ports");
        for address in subset.list("addresses") {
            let ip = address.str("ip");
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            for port in ports {
                let number = port.get("port").and_then(Value::as_i64).unwrap_or_default();
                let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
                all.push(format!("{host}:{number}"));
            }
        }
    }
    match all.len() {
        0 => print::NONE.to_owned(),
        more @ 4.. => format!("{} + {} more...", all[..3].join(","), more - 3),
        _ => all.join(","),
    }
}
