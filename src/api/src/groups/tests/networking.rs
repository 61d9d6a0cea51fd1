use super::{cells, defaulted, errors, update_errors};
use apimachinery::value;
use apimachinery::value::Value;

#[test]
fn services_get_their_documented_defaults() {
    let check = |spec: Value, expected: Value| {
        assert_eq!(defaulted("services", value!({"spec": spec})).get("spec"), Some(&expected));
    };
    check(
        value!({"ports": [{"port": 80}]}),
        value!({
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            "sessionAffinity": "None", "type": "ClusterIP", "internalTrafficPolicy": "Cluster",
        }),
    );
    check(
        value!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "ports": [{"port": 1, "targetPort": "web"}]}),
        value!({
            "type": "LoadBalancer", "sessionAffinity": "ClientIP",
            "ports": [{"port": 1, "targetPort": "web", "protocol": "TCP"}],
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
            "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster",
            "allocateLoadBalancerNodePorts": true,
        }),
    );
}

#[test]
fn services_are_checked_in_upstreams_words() {
    let check = |spec: Value, expected: &[&str]| {
        assert_eq!(errors("services", value!({"spec": spec})), expected);
    };
    check(value!({"ports": [{"port": 80}]}), &[]);
    check(value!({}), &["spec.ports: Required value"]);
    check(value!({"clusterIP": "None"}), &[]);
    check(value!({"type": "ExternalName"}), &["spec.externalName: Required value"]);
    check(
        value!({"type": "Ingress", "ports": [{"port": 80}]}),
        &[
            r#"spec.type: Unsupported value: "Ingress": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#,
        ],
    );
    check(
        value!({"ports": [{"port": 80}, {"port": 70000, "name": "b", "protocol": "X", "nodePort": 5}]}),
        &[
            "spec.ports[0].name: Required value",
            "spec.ports[1].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
            r#"spec.ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP""#,
            "spec.ports[1].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "spec.ports[1].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ],
    );
    let with = |address: &str| value!({"spec": {"clusterIP": address, "ports": [{"port": 1}]}});
    assert_eq!(
        update_errors("services", with("10.0.0.2"), with("10.0.0.1")),
        [r#"spec.clusterIPs[0]: Invalid value: "10.0.0.2": may not change once set"#]
    );
}

#[test]
fn services_are_printed_with_all_their_addresses() {
    let check = |spec: Value, status: Value, expected: &str| {
        let service = value!({"metadata": {"name": "s", "creationTimestamp": "2026-01-01T23:55:00Z"},
            "spec": spec, "status": status});
        assert_eq!(cells("services", service), expected);
    };
    check(
        value!({"type": "NodePort", "clusterIP": "10.96.0.9", "selector": {"app": "x"},
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]}),
        value!({}),
        "Name=s Type=NodePort Cluster-IP=10.96.0.9 External-IP=<none> Port(s)=80:30080/TCP,53/UDP Age=5m \
         [Selector=app=x]",
    );
    check(
        value!({"type": "LoadBalancer", "clusterIP": "10.96.0.9", "externalIPs": ["1.2.3.4"]}),
        value!({"loadBalancer": {"ingress": [{"ip": "9.9.9.9"}, {"hostname": "lb.example"}]}}),
        "Name=s Type=LoadBalancer Cluster-IP=10.96.0.9 External-IP=9.9.9.9,lb.example,1.2.3.4 Port(s)=<none> Age=5m \
         [Selector=<none>]",
    );
    check(
        value!({"type": "LoadBalancer"}),
        value!({}),
        "Name=s Type=LoadBalancer Cluster-IP=<none> External-IP=<pending> Port(s)=<none> Age=5m [Selector=<none>]",
    );
}

#[test]
fn endpoints_and_slices_show_the_first_three() {
    let endpoints = value!({"metadata": {"name": "e"}, "subsets": [{
        "addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}, {"port": 443}]}]});
    assert_eq!(
        cells("endpoints", endpoints),
        "Name=e Endpoints=10.0.0.1:80,10.0.0.1:443,[fd00::1]:80 + 1 more... Age=<unknown>"
    );
    let slice = value!({"metadata": {"name": "e"}, "addressType": "IPv4",
        "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}]});
    assert_eq!(
        cells("endpointslices", slice),
        "Name=e AddressType=IPv4 Ports=80 Endpoints=10.0.0.1,10.0.0.2 Age=<unknown>"
    );
    assert_eq!(
        errors("endpointslices", value!({"addressType": "IPv4", "endpoints": [{"addresses": ["fd00::1"]}]})),
        [r#"endpoints[0].addresses[0]: Invalid value: "fd00::1": must be a valid IPv4 address"#]
    );
}

#[test]
fn network_policies_say_which_sides_they_rule() {
    let types = |spec: Value| {
        let policy = defaulted("networkpolicies", value!({"spec": spec}));
        policy.at(&["spec", "policyTypes"]).unwrap().to_string()
    };
    assert_eq!(types(value!({})), r#"["Ingress"]"#);
    assert_eq!(types(value!({"egress": [{}]})), r#"["Ingress","Egress"]"#);
    assert_eq!(types(value!({"egress": [{}], "policyTypes": ["Egress"]})), r#"["Egress"]"#);
    assert_eq!(
        errors("networkpolicies", value!({"spec": {"ingress": [{"from": [{}, {"ipBlock": {"cidr": "x"}}]}]}})),
        [
            "spec.ingress[0].from[0]: Required value: must specify a peer",
            r#"spec.ingress[0].from[1].ipBlock.cidr: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#,
        ]
    );
}

#[test]
fn ingresses_are_checked_and_printed() {
    let with = |path: Value| value!({"metadata": {"name": "i"}, "spec": {"rules": [{"host": "a.example", "http": {"paths": [path]}}]}});
    let backend = value!({"service": {"name": "s", "port": {"number": 80}}});
    let good = with(value!({"path": "/", "pathType": "Prefix", "backend": (backend.clone())}));
    assert_eq!(errors("ingresses", good.clone()), Vec::<String>::new());
    assert_eq!(cells("ingresses", good), "Name=i Class=<none> Hosts=a.example Address= Ports=80 Age=<unknown>");
    assert_eq!(
        errors("ingresses", with(value!({"path": "x", "pathType": "Exact", "backend": {}}))),
        [
            r#"spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path"#,
            "spec.rules[0].http.paths[0].backend: Required value: resource or service backend is required",
        ]
    );
}
