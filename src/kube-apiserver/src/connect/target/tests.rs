use serde_json::json;

use super::*;

fn object(value: serde_json::Value) -> Object {
    serde_json::from_value(value).unwrap()
}

fn node() -> Object {
    object(json!({
        "metadata": {"name": "n1"}, "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.168.10.2"}]},
    }))
}

fn pod(address: &str, host_network: bool) -> Object {
    object(json!({"metadata": {"name": "p"}, "spec": {"hostNetwork": host_network}, "status": {"podIP": address}}))
}

#[test]
fn pods_are_reached_only_where_they_can_be() {
    for (address, host_network, allowed) in [
        ("10.244.1.7", false, true),
        ("fd00:1::7", false, true),
        ("192.168.10.2", true, true),
        ("10.244.2.7", false, false),
        ("192.168.10.2", false, false),
        ("10.244.1.7", true, false),
        ("192.168.10.3", true, false),
        ("127.0.0.1", false, false),
        ("127.0.0.1", true, false),
        ("169.254.169.254", false, false),
        ("0.0.0.0", false, false),
        ("224.0.0.1", false, false),
        ("255.255.255.255", false, false),
        ("::1", false, false),
        ("::", false, false),
        ("fe80::1", false, false),
        ("::ffff:127.0.0.1", false, false),
        ("::ffff:169.254.169.254", false, false),
        ("metadata.internal", false, false),
        ("", false, false),
    ] {
        assert_eq!(
            pod_address(&pod(address, host_network), Some(&node())).is_ok(),
            allowed,
            "{address} {host_network}"
        );
    }
    assert!(pod_address(&pod("10.244.1.7", false), None).is_err(), "a pod without a node has no address");
}

#[test]
fn names_of_proxied_objects() {
    let parse = |text| ProxyName::parse(text).ok().map(|name| (name.https, name.name.to_owned(), name.port.to_owned()));
    let some = |https, name: &str, port: &str| Some((https, name.to_owned(), port.to_owned()));
    assert_eq!(parse("web"), some(false, "web", ""));
    assert_eq!(parse("web:80"), some(false, "web", "80"));
    assert_eq!(parse("https:web:api"), some(true, "web", "api"));
    assert_eq!(parse("http:web:"), some(false, "web", ""));
    for wrong in ["", "ftp:web:80", "a:b:c:d", "we b", "web:8\r\n0", "../x", "web:80/x"] {
        assert_eq!(parse(wrong), None, "{wrong:?}");
    }
}
