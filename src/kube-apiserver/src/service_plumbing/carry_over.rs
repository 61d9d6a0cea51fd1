//! What an update of a Service leaves out it keeps: clients that know nothing of addresses must not lose them.

use apimachinery::{Object, Value};

/// Fills addresses and node ports of the old Service into a new one that says nothing of them.
pub fn carry_over(new: &mut Object, old: &Object) {
    let has_ip = |service: &Object| super::type_of(service) != "ExternalName";
    if has_ip(new) && has_ip(old) {
        if new.str_at(&["spec", "clusterIP"]).is_empty() {
            copy(new, old, "clusterIP");
        }
        if new.list_at(&["spec", "clusterIPs"]).is_empty()
            && new.str_at(&["spec", "clusterIP"]) == old.str_at(&["spec", "clusterIP"])
        {
            copy(new, old, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if new.at(&["spec", field]).is_none() {
                copy(new, old, field);
            }
        }
    }
    drop_of_old_type(new, old);
    if super::node_ports::wants_ports(old) && !super::node_ports::wants_ports(new) {
        forget_node_ports(new, old.list_at(&["spec", "ports"]));
    }
    if super::node_ports::wants_ports(new) && super::node_ports::wants_ports(old) {
        keep_node_ports(new, old.list_at(&["spec", "ports"]));
        if new.i64_at(&["spec", "healthCheckNodePort"]).unwrap_or(0) == 0 && super::node_ports::wants_health_port(new) {
            copy(new, old, "healthCheckNodePort");
        }
    }
}

/// What only the old type had goes with it, unless it was asked for anew.
fn drop_of_old_type(new: &mut Object, old: &Object) {
    let has_ip = |service: &Object| super::type_of(service) != "ExternalName";
    let balanced = |service: &Object| super::type_of(service) == "LoadBalancer";
    let reachable = |service: &Object| {
        let external = !service.list_at(&["spec", "externalIPs"]).is_empty() && has_ip(service);
        super::node_ports::wants_ports(service)
            || external
            || matches!(super::type_of(service), "NodePort" | "LoadBalancer")
    };
    let lost: [(bool, &[&str]); 3] = [
        (
            has_ip(old) && !has_ip(new),
            &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"],
        ),
        (balanced(old) && !balanced(new), &["allocateLoadBalancerNodePorts", "loadBalancerClass"]),
        (reachable(old) && !reachable(new), &["externalTrafficPolicy"]),
    ];
    for field in lost.iter().filter(|(is, _)| *is).flat_map(|(_, fields)| *fields) {
        let path = ["spec", field];
        if new.at(&path) == old.at(&path) {
            new.remove_at(&path);
        }
    }
}

fn copy(new: &mut Object, old: &Object, field: &str) {
    if let Some(value) = old.at(&["spec", field]) {
        new.set_at(&["spec", field], value.clone());
    }
}

fn keep_node_ports(new: &mut Object, old: &[Value]) {
    let same = |a: &Value, b: &Value| a.get("port") == b.get("port") && protocol(a) == protocol(b);
    let taken: Vec<i64> =
        new.list_at(&["spec", "ports"]).iter().filter_map(|port| port.get("nodePort")?.as_i64()).collect();
    let Some(ports) = new.at_mut(&["spec", "ports"]).and_then(Value::as_list_mut) else { return };
    for port in ports {
        if port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) != 0 {
            continue;
        }
        let known = old.iter().find(|candidate| same(port, candidate));
        let number = known.and_then(|known| known.get("nodePort")?.as_i64());
        if let Some(number) = number.filter(|number| !taken.contains(number)) {
            port.set_at(&["nodePort"], number);
        }
    }
}

/// A Service that is no longer reached at nodes loses the ports it did not ask for anew.
fn forget_node_ports(new: &mut Object, old: &[Value]) {
    if let Some(ports) = new.at_mut(&["spec", "ports"]).and_then(Value::as_list_mut) {
        for port in ports {
            let number = port.get("nodePort").cloned();
            if number.is_some() && old.iter().any(|known| known.get("nodePort") == number.as_ref()) {
                port.remove_at(&["nodePort"]);
            }
        }
    }
    new.remove_at(&["spec", "healthCheckNodePort"]);
}

fn protocol(port: &Value) -> &str {
    match port.str("protocol") {
        "" => "TCP",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    #[test]
    fn an_update_without_addresses_keeps_them() {
        let old = Object::try_from(value!({"spec": {
            "type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}],
        }}))
        .unwrap();
        let mut new = Object::try_from(value!({"spec": {
            "type": "NodePort", "ports": [{"port": 80}, {"port": 81}],
        }}))
        .unwrap();
        carry_over(&mut new, &old);
        assert_eq!(new.str_at(&["spec", "clusterIP"]), "10.96.0.7");
        assert_eq!(new.list_at(&["spec", "clusterIPs"]).len(), 1);
        assert_eq!(new.i64_at(&["spec", "ports", "0", "nodePort"]), Some(30080));
        assert_eq!(new.at(&["spec", "ports", "1", "nodePort"]), None);
    }
}
