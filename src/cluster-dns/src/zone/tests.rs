//! The Kubernetes DNS specification, name by name.

use super::*;
use crate::records::{Backend, Port};

fn zone() -> Zone {
    let ip = |text: &str| text.parse().unwrap();
    let port = |name: &str, number| Port { name: name.to_owned(), protocol: "tcp".to_owned(), number };
    let backend = |label: &str, address: &str| Backend {
        label: label.to_owned(),
        ip: ip(address),
        ports: vec![port("http", 8080)],
    };
    let mut zone = Zone::new(&Name::from_ascii("cluster.local.").unwrap());
    let key = |name: &str| ("shop".to_owned(), name.to_owned());
    let web = Target::Cluster {
        ips: vec![ip("10.96.0.20"), ip("fd00::20")],
        ports: vec![port("http", 80), port("admin", 81)],
        backends: Vec::new(),
    };
    zone.set(key("web"), Some(web));
    zone.set(
        key("db"),
        Some(Target::Headless(vec![backend("db-0", "10.244.0.3"), backend("10-244-1-4", "10.244.1.4")])),
    );
    zone.set(key("empty"), Some(Target::Headless(Vec::new())));
    zone.set(key("out"), Some(Target::External("www.example".to_owned())));
    zone
}

fn ask(name: &str, kind: RecordType) -> Vec<String> {
    let name = Name::from_ascii(name).unwrap();
    let data = |records: &[Record]| -> Vec<String> {
        let mut texts: Vec<String> = records.iter().map(|r| format!("{} {}", r.name, r.data)).collect();
        texts.sort();
        texts
    };
    match answer(&zone(), Question { name: &name, kind }) {
        Answer::Records { answers, additionals } => {
            [data(&answers), data(&additionals).into_iter().map(|t| format!("+ {t}")).collect()].concat()
        }
        Answer::Alias { record, target } => vec![format!("{} -> {target}", record.name)],
        other => vec![format!("{other:?}")],
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of names")]
fn names_mean_what_the_specification_says() {
    use RecordType::{A, AAAA, MX, NS, PTR, SOA, SRV, TXT};
    for (name, kind, expected) in [
        ("web.shop.svc.cluster.local.", A, &["web.shop.svc.cluster.local. 10.96.0.20"][..]),
        ("web.shop.svc.cluster.local.", AAAA, &["web.shop.svc.cluster.local. fd00::20"]),
        ("web.shop.svc.cluster.local.", MX, &["NoData"]),
        ("WeB.Shop.svc.cluster.LOCAL.", A, &["WeB.Shop.svc.cluster.LOCAL. 10.96.0.20"]),
        (
            "_http._tcp.web.shop.svc.cluster.local.",
            SRV,
            &[
                "_http._tcp.web.shop.svc.cluster.local. 0 100 80 web.shop.svc.cluster.local.",
                "+ web.shop.svc.cluster.local. 10.96.0.20",
                "+ web.shop.svc.cluster.local. fd00::20",
            ],
        ),
        ("_http._tcp.web.shop.svc.cluster.local.", A, &["NoData"]),
        ("_tcp.web.shop.svc.cluster.local.", A, &["NoData"]),
        ("_http._udp.web.shop.svc.cluster.local.", SRV, &["NoName"]),
        ("none.shop.svc.cluster.local.", A, &["NoName"]),
        ("a.web.shop.svc.cluster.local.", A, &["NoName"]),
        (
            "db.shop.svc.cluster.local.",
            A,
            &["db.shop.svc.cluster.local. 10.244.0.3", "db.shop.svc.cluster.local. 10.244.1.4"],
        ),
        ("db-0.db.shop.svc.cluster.local.", A, &["db-0.db.shop.svc.cluster.local. 10.244.0.3"]),
        ("10-244-1-4.db.shop.svc.cluster.local.", A, &["10-244-1-4.db.shop.svc.cluster.local. 10.244.1.4"]),
        ("db-0.db.shop.svc.cluster.local.", AAAA, &["NoData"]),
        (
            "_http._tcp.db.shop.svc.cluster.local.",
            SRV,
            &[
                "_http._tcp.db.shop.svc.cluster.local. 0 50 8080 10-244-1-4.db.shop.svc.cluster.local.",
                "_http._tcp.db.shop.svc.cluster.local. 0 50 8080 db-0.db.shop.svc.cluster.local.",
                "+ 10-244-1-4.db.shop.svc.cluster.local. 10.244.1.4",
                "+ db-0.db.shop.svc.cluster.local. 10.244.0.3",
            ],
        ),
        ("empty.shop.svc.cluster.local.", A, &["NoName"]),
        ("out.shop.svc.cluster.local.", A, &["out.shop.svc.cluster.local. -> www.example."]),
        ("10-244-0-3.shop.pod.cluster.local.", A, &["10-244-0-3.shop.pod.cluster.local. 10.244.0.3"]),
        ("10-244-0-3.none.pod.cluster.local.", A, &["NoName"]),
        ("rubbish.shop.pod.cluster.local.", A, &["NoName"]),
        ("dns-version.cluster.local.", TXT, &["dns-version.cluster.local. 1.1.0"]),
        ("20.0.96.10.in-addr.arpa.", PTR, &["20.0.96.10.in-addr.arpa. web.shop.svc.cluster.local."]),
        ("3.0.244.10.in-addr.arpa.", PTR, &["3.0.244.10.in-addr.arpa. db-0.db.shop.svc.cluster.local."]),
        ("1.1.1.1.in-addr.arpa.", PTR, &["NotOurs"]),
        ("www.example.", A, &["NotOurs"]),
        ("local.", A, &["NotOurs"]),
        ("cluster.local.", A, &["NoData"]),
        ("cluster.local.", NS, &["cluster.local. ns.dns.cluster.local."]),
        ("svc.cluster.local.", A, &["NoData"]),
        ("shop.svc.cluster.local.", A, &["NoData"]),
        ("none.svc.cluster.local.", A, &["NoName"]),
        ("www.example.shop.svc.cluster.local.", A, &["NoName"]),
    ] {
        assert_eq!(ask(name, kind), expected, "{name} {kind}");
    }
    assert!(
        ask("cluster.local.", SOA)[0].starts_with("cluster.local. ns.dns.cluster.local. hostmaster.cluster.local.")
    );
}

#[test]
fn an_ipv6_address_has_a_reverse_name() {
    let name = "0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.";
    assert_eq!(reverse_address(name), Some("fd00::20".parse().unwrap()));
    assert!(ask(name, RecordType::PTR)[0].ends_with("web.shop.svc.cluster.local."));
    assert_eq!(reverse_address("0.2.ip6.arpa."), None);
}

#[test]
fn a_removed_service_leaves_nothing() {
    let mut zone = zone();
    for key in zone.services() {
        zone.set(key, None);
    }
    assert!(zone.namespaces.is_empty() && zone.reverse.is_empty() && zone.services.is_empty());
}
