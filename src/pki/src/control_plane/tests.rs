use super::*;

fn node() -> ControlPlaneNode {
    ControlPlaneNode {
        name: "cp-1".into(),
        addresses: vec!["192.168.10.2".parse().unwrap()],
        endpoints: vec!["192.168.10.100".into(), "api.example".into(), "cp-1".into()],
        service_addresses: vec!["10.96.0.1".parse().unwrap()],
        domain: "cluster.local".into(),
        stacked_etcd: true,
    }
}

#[test]
fn files_and_subjects_are_those_of_kubeadm() {
    let listed: Vec<String> = certificates(&node())
        .into_iter()
        .map(|spec| {
            let file = match spec.destination {
                Destination::KeyPair { file } | Destination::Kubeconfig { file } => file,
            };
            format!(
                "{file} {:?} CN={} O={}",
                spec.authority,
                spec.request.common_name,
                spec.request.organizations.join(",")
            )
        })
        .collect();
    assert_eq!(
        listed,
        [
            "apiserver Cluster CN=kube-apiserver O=",
            "apiserver-kubelet-client Cluster CN=kube-apiserver-kubelet-client O=kubeadm:cluster-admins",
            "front-proxy-client FrontProxy CN=front-proxy-client O=",
            "apiserver-etcd-client Etcd CN=kube-apiserver-etcd-client O=",
            "admin.conf Cluster CN=kubernetes-admin O=kubeadm:cluster-admins",
            "super-admin.conf Cluster CN=kubernetes-super-admin O=system:masters",
            "controller-manager.conf Cluster CN=system:kube-controller-manager O=",
            "scheduler.conf Cluster CN=system:kube-scheduler O=",
            "kubelet.conf Cluster CN=system:node:cp-1 O=system:nodes",
            "etcd/server Etcd CN=cp-1 O=",
            "etcd/peer Etcd CN=cp-1 O=",
            "etcd/healthcheck-client Etcd CN=kube-etcd-healthcheck-client O=",
        ]
    );
}

#[test]
fn api_server_is_reachable_by_every_name_once() {
    let names = certificates(&node()).swap_remove(0).request.sans;
    for wanted in ["kubernetes.default.svc.cluster.local", "10.96.0.1", "192.168.10.2", "192.168.10.100", "api.example"]
    {
        assert!(names.contains(&SubjectAltName::parse(wanted)), "{wanted}");
    }
    assert_eq!(names.iter().filter(|name| **name == SubjectAltName::Dns("cp-1".into())).count(), 1);
}

#[test]
fn external_etcd_leaves_no_member_certificates_on_the_node() {
    let set = certificates(&ControlPlaneNode { stacked_etcd: false, ..node() });
    assert_eq!(set.iter().filter(|spec| spec.authority == Authority::Etcd).count(), 1);
}
