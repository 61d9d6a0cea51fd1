//! The rules for services: what goes with which type, and what never changes while a type lasts.

use crate::check::{self, Errors};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value;
use apimachinery::value::{Map, Value};
use std::collections::HashSet;

/// The port kubelets listen on.
const KUBELET_PORT: i64 = 10250;
/// The longest a client stays with its endpoint, in seconds.
const LONGEST_AFFINITY: i64 = 86400;
const BALANCERS_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";

pub(super) fn validate(service: &Object) -> Errors {
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
    check_affinity(&mut errors, &path, spec);
    check_traffic(&mut errors, &path, spec);
    check_families(&mut errors, &path, spec);
    check_addresses(&mut errors, &path, spec);
    check_balancer(&mut errors, &path, spec);
    errors
}

fn check_ports(errors: &mut Errors, path: &Path, spec: &Map) {
    let several = check::list(spec, "ports").len() > 1;
    let (mut port_names, mut numbers, mut node_ports) = (HashSet::new(), HashSet::new(), HashSet::new());
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
        if check::set(port, "appProtocol") {
            check::named(errors, &path.child("appProtocol"), port.str("appProtocol"), names::qualified_name);
        }
        if !numbers.insert((number, protocol)) {
            let port = value!({"port": number, "protocol": protocol});
            errors.push(FieldError::duplicate(&path, port));
        }
        let node = check::number(port, "nodePort").unwrap_or_default();
        if node != 0 && matches!(spec.str("type"), "ClusterIP" | "ExternalName") {
            let wrong = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(path.child("nodePort"), wrong));
        } else if node != 0 && !node_ports.insert((node, protocol)) {
            errors.push(FieldError::duplicate(path.child("nodePort"), node));
        }
        if number == KUBELET_PORT && spec.str("type") == "LoadBalancer" {
            let wrong = format!("may not expose port {KUBELET_PORT} externally since it is used by kubelet");
            errors.push(FieldError::invalid(path.child("port"), number, wrong));
        }
    }
}

fn check_affinity(errors: &mut Errors, path: &Path, spec: &Map) {
    let affinity = spec.str("sessionAffinity");
    check::one_of(errors, &path.child("sessionAffinity"), affinity, &["ClientIP", "None"]);
    let config = spec.get("sessionAffinityConfig").filter(|config| !config.is_null());
    let path = path.child("sessionAffinityConfig");
    match (affinity, config) {
        ("None", Some(_)) => {
            errors.push(FieldError::forbidden(path, "must not be set when session affinity is None"));
        }
        ("ClientIP", Some(config)) => {
            let seconds = config.at(&["clientIP", "timeoutSeconds"]).and_then(Value::as_i64).unwrap_or_default();
            if !(1..=LONGEST_AFFINITY).contains(&seconds) {
                let wrong = format!("must be greater than 0 and less than {LONGEST_AFFINITY}");
                errors.push(FieldError::invalid(path.children(&["clientIP", "timeoutSeconds"]), seconds, wrong));
            }
        }
        _ => {}
    }
}

fn check_traffic(errors: &mut Errors, path: &Path, spec: &Map) {
    for key in ["externalTrafficPolicy", "internalTrafficPolicy"] {
        check::optional_one_of(errors, &path.child(key), spec.str(key), &["Cluster", "Local"]);
    }
    let external = spec.str("externalTrafficPolicy");
    let reachable =
        matches!(spec.str("type"), "LoadBalancer" | "NodePort") || !check::list(spec, "externalIPs").is_empty();
    if !external.is_empty() && !reachable {
        let wrong = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(path.child("externalTrafficPolicy"), external, wrong));
    }
    let port = check::number(spec, "healthCheckNodePort").filter(|port| *port != 0);
    if let Some(port) = port {
        check::port(errors, &path.child("healthCheckNodePort"), port);
        if spec.str("type") != "LoadBalancer" || external != "Local" {
            let wrong = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(path.child("healthCheckNodePort"), port, wrong));
        }
    }
    let distribution = spec.str("trafficDistribution");
    let known = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    check::optional_one_of(errors, &path.child("trafficDistribution"), distribution, &known);
}

fn check_families(errors: &mut Errors, path: &Path, spec: &Map) {
    let families = check::list(spec, "ipFamilies");
    for (index, family) in check::texts(spec, "ipFamilies") {
        let path = path.child("ipFamilies").index(index);
        check::one_of(errors, &path, family, &["IPv4", "IPv6"]);
        if families[..index].iter().any(|one| one.as_str() == Some(family)) {
            errors.push(FieldError::duplicate(path, family));
        }
    }
    let policy = spec.str("ipFamilyPolicy");
    let known = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    check::optional_one_of(errors, &path.child("ipFamilyPolicy"), policy, &known);
    if policy == "SingleStack" && families.len() > 1 {
        let wrong = "must be RequireDualStack or PreferDualStack when multiple ipFamilies are specified";
        errors.push(FieldError::invalid(path.child("ipFamilyPolicy"), policy, wrong));
    }
    if spec.str("type") == "ExternalName" {
        for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if spec.get(key).is_some_and(|value| !value.is_empty()) {
                errors.push(FieldError::forbidden(path.child(key), "may not be set for ExternalName services"));
            }
        }
    }
}

fn check_addresses(errors: &mut Errors, path: &Path, spec: &Map) {
    let (first, all) = (spec.str("clusterIP"), check::list(spec, "clusterIPs"));
    if let Some(listed) = all.first().and_then(Value::as_str).filter(|listed| !first.is_empty() && *listed != first) {
        let wrong = format!("element [0] must match clusterIP: {listed}");
        errors.push(FieldError::invalid(path.child("clusterIPs"), Value::from(all), wrong));
    }
    if all.len() > 2 {
        let wrong = "may only hold up to 2 values";
        errors.push(FieldError::invalid(path.child("clusterIPs"), Value::from(all), wrong));
    }
    for (index, address) in check::texts(spec, "clusterIPs") {
        let path = path.child("clusterIPs").index(index);
        if address == "None" && all.len() > 1 {
            errors.push(FieldError::invalid(path, address, "may not be set to 'None' together with other addresses"));
        } else if address != "None" && !address.is_empty() {
            check::ip(errors, &path, address);
        }
    }
    for (index, address) in check::texts(spec, "externalIPs") {
        let path = path.child("externalIPs").index(index);
        check::ip(errors, &path, address);
        check::no_special_ip(errors, &path, address);
    }
}

fn check_balancer(errors: &mut Errors, path: &Path, spec: &Map) {
    let balanced = spec.str("type") == "LoadBalancer";
    for (index, range) in check::texts(spec, "loadBalancerSourceRanges") {
        check::cidr(errors, &path.child("loadBalancerSourceRanges").index(index), range.trim());
    }
    for key in ["loadBalancerSourceRanges", "loadBalancerClass", "allocateLoadBalancerNodePorts"] {
        let given = spec.get(key).is_some_and(|value| !value.is_null() && value.as_list() != Some(&[]));
        if given && !balanced {
            errors.push(FieldError::forbidden(path.child(key), BALANCERS_ONLY));
        }
    }
    let class = spec.str("loadBalancerClass");
    if !class.is_empty() {
        check::named(errors, &path.child("loadBalancerClass"), class, names::qualified_name);
    }
}

pub(super) fn validate_update(new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let types = [new, old].map(|service| service.str_at(&["spec", "type"]));
    let before = old.str_at(&["spec", "clusterIP"]);
    if !types.contains(&"ExternalName") && !before.is_empty() {
        let now = new.str_at(&["spec", "clusterIP"]);
        if now != before {
            let path = Path::new("spec.clusterIPs").index(0);
            errors.push(FieldError::invalid(path, now, "may not change once set"));
        }
    }
    if types == ["LoadBalancer"; 2] {
        let class = ["spec", "loadBalancerClass"];
        if new.at(&class) != old.at(&class) {
            let path = Path::new("spec.loadBalancerClass");
            let now = new.at(&class).cloned().unwrap_or_default();
            errors.push(FieldError::invalid(path, now, "may not change once set"));
        }
        let local = [new, old].iter().all(|one| one.str_at(&["spec", "externalTrafficPolicy"]) == "Local");
        let port = ["spec", "healthCheckNodePort"];
        if local && old.i64_at(&port).unwrap_or(0) != 0 {
            check::unchanged(&mut errors, &Path::new("spec.healthCheckNodePort"), new.at(&port), old.at(&port));
        }
    }
    let first = |service: &Object| service.at(&["spec", "ipFamilies", "0"]).cloned();
    if !types.contains(&"ExternalName") && first(old).is_some() && first(new) != first(old) {
        let path = Path::new("spec.ipFamilies").index(0);
        errors.push(FieldError::invalid(path, first(new).unwrap_or_default(), "may not change once set"));
    }
    errors
}

pub(super) fn validate_endpoints(endpoints: &Object) -> Errors {
    let mut errors = Errors::new();
    for (index, subset) in check::maps(endpoints.as_map(), "subsets") {
        let path = Path::new("subsets").index(index);
        let lists = ["addresses", "notReadyAddresses"];
        if lists.iter().all(|list| check::list(subset, list).is_empty()) {
            errors.push(FieldError::required(&path, "must specify `addresses` or `notReadyAddresses`"));
        }
        for list in lists {
            for (at, address) in check::maps(subset, list) {
                let path = path.child(list).index(at);
                check::ip(&mut errors, &path.child("ip"), address.str("ip"));
                check::no_special_ip(&mut errors, &path.child("ip"), address.str("ip"));
                if check::set(address, "nodeName") {
                    let node = address.str("nodeName");
                    check::named(&mut errors, &path.child("nodeName"), node, names::dns1123_subdomain);
                }
                if !address.str("hostname").is_empty() {
                    check::named(&mut errors, &path.child("hostname"), address.str("hostname"), names::dns1123_label);
                }
            }
        }
        let several = check::list(subset, "ports").len() > 1;
        for (at, port) in check::maps(subset, "ports") {
            let path = path.child("ports").index(at);
            if several && port.str("name").is_empty() {
                errors.push(FieldError::required(path.child("name"), ""));
            }
            if !port.str("name").is_empty() {
                check::named(&mut errors, &path.child("name"), port.str("name"), names::dns1123_label);
            }
            check::port(&mut errors, &path.child("port"), check::number(port, "port").unwrap_or_default());
            check::one_of(&mut errors, &path.child("protocol"), port.str("protocol"), &["SCTP", "TCP", "UDP"]);
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use crate::groups::tests::{errors, update_errors};
    use apimachinery::value;
    use apimachinery::value::Value;

    fn check(changes: &[(&str, Value)], expected: &[&str]) {
        let mut service = value!({"spec": {"ports": [{"port": 80}]}});
        for (key, value) in changes {
            service.set_at(&["spec", key], value.clone());
        }
        assert_eq!(errors("services", service), expected);
    }

    #[test]
    fn what_is_for_balancers_is_only_for_them() {
        check(&[("type", "LoadBalancer".into()), ("loadBalancerClass", "a.b/c".into())], &[]);
        check(
            &[("loadBalancerSourceRanges", value!(["10.0.0.0/8"])), ("loadBalancerClass", "a.b/c".into())],
            &[
                "spec.loadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
                "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
            ],
        );
        check(
            &[("externalTrafficPolicy", "Local".into()), ("healthCheckNodePort", 30000.into())],
            &[
                r#"spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services"#,
                "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            ],
        );
    }

    #[test]
    fn families_and_addresses_fit_together() {
        check(&[("ipFamilies", value!(["IPv4", "IPv6"])), ("ipFamilyPolicy", "PreferDualStack".into())], &[]);
        check(
            &[("ipFamilies", value!(["IPv4", "IPv4"])), ("ipFamilyPolicy", "SingleStack".into())],
            &[
                r#"spec.ipFamilies[1]: Duplicate value: "IPv4""#,
                r#"spec.ipFamilyPolicy: Invalid value: "SingleStack": must be RequireDualStack or PreferDualStack when multiple ipFamilies are specified"#,
            ],
        );
        check(
            &[("externalIPs", value!(["127.0.0.1"]))],
            &[
                r#"spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#,
            ],
        );
        check(
            &[
                ("sessionAffinity", "ClientIP".into()),
                ("sessionAffinityConfig", value!({"clientIP": {"timeoutSeconds": 90000}})),
            ],
            &[
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: must be greater than 0 and less than 86400",
            ],
        );
        check(
            &[
                ("type", "ExternalName".into()),
                ("externalName", "a.b".into()),
                ("ipFamilyPolicy", "SingleStack".into()),
            ],
            &["spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services"],
        );
    }

    #[test]
    fn the_class_of_a_balancer_never_changes() {
        let service = |class: &str| value!({"spec": {"type": "LoadBalancer", "loadBalancerClass": class, "ports": [{"port": 1}]}});
        assert_eq!(
            update_errors("services", service("a.b/d"), service("a.b/c")),
            [r#"spec.loadBalancerClass: Invalid value: "a.b/d": may not change once set"#]
        );
    }

    #[test]
    fn endpoints_have_addresses() {
        assert_eq!(
            errors("endpoints", value!({"subsets": [{"ports": [{"port": 1}, {"port": 2, "name": "b"}]}]})),
            [
                "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
                "subsets[0].ports[0].name: Required value",
            ]
        );
        let odd = value!({"subsets": [{"addresses": [{"ip": "192.0.2.1", "nodeName": "A_b"}], "ports": [{"port": 1, "name": "A_b"}]}]});
        let told = errors("endpoints", odd);
        assert!(told[0].starts_with("subsets[0].addresses[0].nodeName: Invalid value: \"A_b\""), "{told:?}");
        assert!(told[1].starts_with("subsets[0].ports[0].name: Invalid value: \"A_b\""), "{told:?}");
    }
}
