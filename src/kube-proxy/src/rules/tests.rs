//! Golden texts: one Service in, its chains and elements out.

use std::fmt::Write;

use super::*;

fn node() -> NodeFacts {
    NodeFacts {
        name: "n1".to_owned(),
        port_addresses: vec![IpAddr::from([10, 0, 0, 5])],
        pod_traffic: PodTraffic::Networks(vec!["10.244.0.0/16".parse().unwrap()]),
        mark: 0x4000,
        ..NodeFacts::default()
    }
}

fn service() -> VirtualService {
    VirtualService {
        cluster_ips: vec![IpAddr::from([10, 96, 0, 20])],
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        affinity_seconds: None,
        internal: TrafficPolicy::Cluster,
        external: TrafficPolicy::Cluster,
        health_check_port: None,
        ports: vec![VirtualPort { name: "http".to_owned(), protocol: Protocol::Tcp, port: 80, node_port: None }],
    }
}

fn endpoint(last: u8, local: bool) -> Endpoint {
    Endpoint {
        ip: IpAddr::from([10, 244, 0, last]),
        port: 8080,
        ready: true,
        serving: true,
        terminating: false,
        local,
        zones: Vec::new(),
        nodes: Vec::new(),
    }
}

fn text(service: &VirtualService, endpoints: &[Endpoint]) -> String {
    let name = ServiceName { namespace: "shop".to_owned(), name: "web".to_owned() };
    let ports: Vec<_> = service.ports.iter().map(|p| (p, endpoints.to_vec())).collect();
    let fragment = of_service(&name, service, &ports, (&node(), Family::Ip));
    let mut out = String::new();
    for (key, verdict) in &fragment.elements {
        let verdict = verdict.as_deref().map(|v| format!(" : {v}")).unwrap_or_default();
        writeln!(out, "{} {{ {}{verdict} }}", key.collection.name(), key.key).unwrap();
    }
    for (set, seconds) in &fragment.affinity_sets {
        writeln!(out, "set {set} {seconds}s").unwrap();
    }
    for (chain, rules) in &fragment.chains {
        writeln!(out, "chain {chain}").unwrap();
        for rule in rules {
            writeln!(out, "  {rule}").unwrap();
        }
    }
    out
}

#[test]
fn a_cluster_service_spreads_over_its_endpoints() {
    insta::assert_snapshot!(text(&service(), &[endpoint(2, true), endpoint(3, false)]));
}

#[test]
fn a_service_without_endpoints_is_rejected_at_once() {
    insta::assert_snapshot!(text(&service(), &[]));
}

#[test]
fn a_node_port_masquerades_and_keeps_clients() {
    let mut service = service();
    service.ports[0].node_port = Some(30080);
    service.affinity_seconds = Some(10800);
    insta::assert_snapshot!(text(&service, &[endpoint(2, true)]));
}

#[test]
fn local_external_policy_keeps_the_source_and_serves_insiders_from_everywhere() {
    let mut service = service();
    service.ports[0].node_port = Some(30080);
    service.external = TrafficPolicy::Local;
    insta::assert_snapshot!(text(&service, &[endpoint(2, true), endpoint(3, false)]));
}

#[test]
fn local_external_policy_without_local_endpoint_drops_outsiders() {
    let mut service = service();
    service.load_balancer_ips = vec![IpAddr::from([192, 0, 2, 9])];
    service.external = TrafficPolicy::Local;
    service.source_ranges = vec!["198.51.100.0/25".parse().unwrap(), "198.51.100.128/25".parse().unwrap()];
    insta::assert_snapshot!(text(&service, &[endpoint(3, false)]));
}

#[test]
fn local_internal_policy_drops_where_nothing_is_local() {
    let mut service = service();
    service.internal = TrafficPolicy::Local;
    let text = text(&service, &[endpoint(3, false)]);
    assert!(text.contains("no-endpoint-services { 10.96.0.20 . tcp . 80 : drop }"), "{text}");
    assert!(!text.contains("\nservice-ips"), "{text}");
}

#[test]
fn source_ranges_of_another_family_only_block_everybody() {
    let mut service = service();
    service.load_balancer_ips = vec![IpAddr::from([192, 0, 2, 9])];
    service.source_ranges = vec!["fd00::/8".parse().unwrap()];
    let text = text(&service, &[endpoint(3, false)]);
    assert!(text.contains("firewall-ips { 192.0.2.9 . tcp . 80 : goto firewall-"), "{text}");
    assert!(!text.contains("return"), "{text}");
}

#[test]
fn an_address_of_the_other_family_contributes_nothing() {
    let mut service = service();
    service.cluster_ips = vec!["fd00::20".parse().unwrap()];
    assert_eq!(text(&service, &[endpoint(2, true)]), "");
}
