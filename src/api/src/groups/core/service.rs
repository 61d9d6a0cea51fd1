//! Services and Endpoints. Addresses and node ports are given by the API server, not here.

use crate::check::{self, Errors};
use crate::fill::{each, fill, fill_text, make, spec};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, NameRule, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value;
use apimachinery::value::{Map, Value};
use std::collections::HashSet;

pub(super) const STRATEGY: Strategy = Strategy {
    default,
    prepare_create: |service| {
        service.set_at(&["status"], value!({"loadBalancer": {}}));
    },
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate,
    validate_update,
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

fn validate(service: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = service.map_at(&["spec"]);
    let kind = spec.str("type");
    let headless = spec.str("clusterIP") == "None";
    if check::list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required(path.child("ports"), ""));
    }
    let known = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    check::one_of(&mut errors, &path.child("type"), kind, &known);
    if matches!(kind, "LoadBalancer" | "NodePort") && headless {
        let wrong = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid(path.child("clusterIPs").index(0), "None", wrong));
    }
    if kind == "ExternalName" {
        let name = spec.str("externalName").trim_end_matches('.');
        check::required_named(&mut errors, &path.child("externalName"), name, names::dns1123_subdomain);
    }
    check_ports(&mut errors, &path, spec);
    check::labels(&mut errors, &path.child("selector"), check::part(spec, "selector"));
    let affinity = spec.str("sessionAffinity");
    check::one_of(&mut errors, &path.child("sessionAffinity"), affinity, &["ClientIP", "None"]);
    for key in ["externalTrafficPolicy", "internalTrafficPolicy"] {
        check::optional_one_of(&mut errors, &path.child(key), spec.str(key), &["Cluster", "Local"]);
    }
    check_addresses(&mut errors, &path, spec);
    errors
}

fn check_ports(errors: &mut Errors, path: &Path, spec: &Map) {
    let several = check::list(spec, "ports").len() > 1;
    let (mut port_names, mut numbers) = (HashSet::new(), HashSet::new());
    for (index, port) in check::maps(spec, "ports") {
        let path = path.child("ports").index(index);
        let name = port.str("name");
        if name.is_empty() {
            if several {
                errors.push(FieldError::required(path.child("name"), ""));
            }
        } else {
            check::named(errors, &path.child("name"), name, names::dns1123_label);
            if !port_names.insert(name) {
                errors.push(FieldError::duplicate(path.child("name"), name));
            }
        }
        let number = check::number(port, "port").unwrap_or_default();
        check::port(errors, &path.child("port"), number);
        let protocol = port.str("protocol");
        check::one_of(errors, &path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
        if let Some(target) = port.get("targetPort") {
            check::port_or_name(errors, &path.child("targetPort"), target);
        }
        if !numbers.insert((number, protocol)) {
            let port = value!({"port": number, "protocol": protocol});
            errors.push(FieldError::duplicate(&path, port));
        }
        let node = check::number(port, "nodePort").unwrap_or_default();
        if node != 0 && matches!(spec.str("type"), "ClusterIP" | "ExternalName") {
            let wrong = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(path.child("nodePort"), wrong));
        }
    }
}

fn check_addresses(errors: &mut Errors, path: &Path, spec: &Map) {
    for key in ["clusterIPs", "externalIPs"] {
        for (index, address) in check::list(spec, key).iter().filter_map(Value::as_str).enumerate() {
            let fine = address.parse::<std::net::IpAddr>().is_ok() || (key == "clusterIPs" && address == "None");
            if !fine && !address.is_empty() {
                let wrong = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
                errors.push(FieldError::invalid(path.child(key).index(index), address, wrong));
            }
        }
    }
}

fn validate_update(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let kinds = [new, old].map(|service| service.str_at(&["spec", "type"]));
    let before = old.str_at(&["spec", "clusterIP"]);
    if !kinds.contains(&"ExternalName") && !before.is_empty() {
        let now = new.str_at(&["spec", "clusterIP"]);
        if now != before {
            let path = Path::new("spec.clusterIPs").index(0);
            errors.push(FieldError::invalid(path, now, "may not change once set"));
        }
    }
    errors
}

pub(super) const ENDPOINTS: Strategy = Strategy {
    default: |endpoints| {
        let subsets = endpoints.as_map_mut();
        for subset in each(subsets, "subsets") {
            each(subset, "ports").for_each(|port| fill_text(port, "protocol", "TCP"));
        }
    },
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
