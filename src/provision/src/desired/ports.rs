//! The ports that a machine must have free for what will run on it.

use topology::{Role, Topology};

use super::{API_PORT, BALANCED_PORT};

/// Each port with the name of who listens there, on machines of this role; the same as in the templates and the components'
/// defaults.
pub fn ports(topology: &Topology, role: &Role) -> Vec<(u16, &'static str)> {
    let mut ports = Vec::new();
    let shares = topology.has_balancer(&Role::ControlPlane);
    if *role == Role::ControlPlane {
        ports.extend([(API_PORT, "kube-apiserver"), (10257, "kube-controller-manager"), (10259, "kube-scheduler")]);
    }
    if topology.has_etcd(role) {
        ports.extend([2379, 2380, 2381].map(|port| (port, "etcd")));
    }
    if role.is_node() {
        ports.extend([10248, 10250].map(|port| (port, "the kubelet")));
        ports.extend([10249, 10256].map(|port| (port, "kube-proxy")));
    }
    if topology.has_balancer(role) {
        ports.push((if shares { BALANCED_PORT } else { API_PORT }, "the balancer"));
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, role: &Role, expected: &[u16]) {
        let text =
            format!("apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: demo}}\nspec: {spec}\n");
        let topology = Topology::parse("demo.yaml", &text).unwrap();
        let mut found: Vec<u16> = ports(&topology, role).into_iter().map(|(port, _)| port).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{spec} {role:?}");
    }

    #[test]
    fn every_role_has_its_ports() {
        let single = [2379, 2380, 2381, 6443, 10248, 10249, 10250, 10256, 10257, 10259];
        check("{}", &Role::ControlPlane, &single);
        check("{workers: [{name: w, replicas: 1}]}", &Role::Worker("w".into()), &[10248, 10249, 10250, 10256]);
        let external =
            "{etcd: {mode: external, replicas: 3}, controlPlane: {replicas: 2}, loadBalancer: {replicas: 1}}";
        check(external, &Role::ControlPlane, &[6443, 10248, 10249, 10250, 10256, 10257, 10259]);
        check(external, &Role::Etcd, &[2379, 2380, 2381]);
        check(external, &Role::LoadBalancer, &[6443]);
        let shared = "{controlPlane: {replicas: 3}, loadBalancer: {replicas: 0}}";
        let mut both = single.to_vec();
        both.insert(4, 8443);
        check(shared, &Role::ControlPlane, &both);
    }
}
