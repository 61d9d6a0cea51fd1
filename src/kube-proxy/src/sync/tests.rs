//! The loop against a recorded host.

use netfilter::fake::FakeHost;
use serde_json::{Value, json};

use super::*;

fn inputs(services: &[Value], slices: &[Value], node: Value) -> Inputs {
    let read = |v: &Value| serde_json::from_value(v.clone()).unwrap();
    let slices = slices.iter().map(|v| serde_json::from_value::<EndpointSlice>(v.clone()).unwrap());
    Inputs {
        services: Store::fixed(services.iter().map(read), []),
        slices: Store::fixed(slices, [(BY_SERVICE, service_of_slice as fn(&EndpointSlice) -> Vec<String>)]),
        nodes: Store::fixed([serde_json::from_value(node).unwrap()], []),
    }
}

fn dns(name: &str, ip: &str) -> Value {
    json!({"metadata": {"namespace": "kube-system", "name": name},
        "spec": {"clusterIP": ip, "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}})
}

fn slice(service: &str, ips: &[&str]) -> Value {
    let endpoints: Vec<Value> = ips.iter().map(|ip| json!({"addresses": [ip], "nodeName": "n1"})).collect();
    json!({"metadata": {"namespace": "kube-system", "name": format!("{service}-1"), "labels": {SERVICE_NAME_LABEL: service}},
        "addressType": "IPv4", "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}], "endpoints": endpoints})
}

fn node() -> Value {
    json!({"metadata": {"name": "n1"}, "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.5"}]}})
}

fn proxy(host: &FakeHost, inputs: Inputs) -> Proxy<FakeHost> {
    let settings = Settings {
        node: NodeFacts { name: "n1".to_owned(), mark: 0x4000, ..NodeFacts::default() },
        port_networks: Vec::new(),
        pods_by_node: false,
        window: Duration::ZERO,
    };
    Proxy::new(host.clone(), inputs, settings, Arc::default())
}

fn everything() -> Changed {
    Changed { node: true, ..Changed::default() }
}

fn only(name: &str) -> Changed {
    let name = ServiceName { namespace: "kube-system".to_owned(), name: name.to_owned() };
    Changed { services: [name].into(), node: false }
}

#[tokio::test]
async fn the_first_transaction_is_whole_and_the_next_one_small() {
    let host = FakeHost::new();
    let services = [dns("kube-dns", "10.96.0.10"), dns("other", "10.96.0.11")];
    let mut proxy = proxy(&host, inputs(&services, &[slice("kube-dns", &["10.244.0.2"])], node()));
    proxy.sync(&everything()).await.unwrap();
    proxy.inputs = inputs(&services, &[slice("kube-dns", &["10.244.0.3"])], node());
    proxy.sync(&only("kube-dns")).await.unwrap();
    let transactions = host.transactions();
    assert_eq!(transactions.len(), 2);
    assert!(transactions[0].starts_with("add table ip kube-proxy\ndelete table ip kube-proxy\n"));
    assert!(transactions[0].contains("nodeport-ips { 10.0.0.5 }"), "{}", transactions[0]);
    assert!(!transactions[1].contains("table ip") && !transactions[1].contains("10.96.0.11"), "{}", transactions[1]);
    assert!(!transactions[0].contains("ip6"), "no table for a family nobody uses");
}

#[tokio::test]
async fn udp_flows_to_an_endpoint_that_is_gone_are_forgotten() {
    let host = FakeHost::new();
    let services = [dns("kube-dns", "10.96.0.10")];
    let mut proxy = proxy(&host, inputs(&services, &[slice("kube-dns", &["10.244.0.2", "10.244.0.4"])], node()));
    proxy.sync(&everything()).await.unwrap();
    let before = host.forgotten().len();
    proxy.inputs = inputs(&services, &[slice("kube-dns", &["10.244.0.4"])], node());
    proxy.sync(&only("kube-dns")).await.unwrap();
    let gone = UdpFlows {
        original_destination: Some("10.96.0.10".parse().unwrap()),
        original_port: Some(53),
        translated_destination: Some("10.244.0.2".parse().unwrap()),
    };
    assert_eq!(host.forgotten()[before..], [gone]);
}

#[tokio::test]
async fn after_a_refused_transaction_everything_is_written_again() {
    let host = FakeHost::new();
    let services = [dns("kube-dns", "10.96.0.10")];
    let mut proxy = proxy(&host, inputs(&services, &[slice("kube-dns", &["10.244.0.2"])], node()));
    proxy.sync(&everything()).await.unwrap();
    host.refuse_next();
    proxy.inputs = inputs(&services, &[], node());
    proxy.sync(&only("kube-dns")).await.unwrap_err();
    proxy.sync(&Changed::default()).await.unwrap();
    let last = host.transactions().pop().unwrap();
    assert!(last.contains("delete table ip kube-proxy"), "{last}");
    assert!(last.contains("no-endpoint-services { 10.96.0.10 . udp . 53 : goto reject-chain }"), "{last}");
}

#[tokio::test]
async fn a_table_of_a_family_no_longer_used_is_taken_away_once() {
    let host = FakeHost::new();
    host.put_table(Family::Ip6, TABLE, r#"{"nftables": []}"#);
    let mut proxy = proxy(&host, inputs(&[], &[], node()));
    proxy.sync(&everything()).await.unwrap();
    proxy.sync(&only("none")).await.unwrap();
    let transactions = host.transactions();
    assert_eq!(transactions.len(), 1);
    assert!(transactions[0].ends_with("delete table ip6 kube-proxy\n"), "{}", transactions[0]);
}

#[tokio::test]
async fn the_second_family_begins_with_its_first_service() {
    let host = FakeHost::new();
    let mut proxy = proxy(&host, inputs(&[], &[], node()));
    proxy.sync(&everything()).await.unwrap();
    proxy.inputs = inputs(&[dns("six", "fd00::10")], &[], node());
    proxy.sync(&only("six")).await.unwrap();
    let last = host.transactions().pop().unwrap();
    assert!(last.contains("add table ip6 kube-proxy"), "{last}");
    assert!(last.contains("cluster-ips { fd00::10 }"), "{last}");
}
