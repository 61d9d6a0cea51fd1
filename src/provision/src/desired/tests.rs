use super::*;
use crate::world::simulated::Lab;

fn paths(machine: &DesiredMachine) -> Vec<&str> {
    let mut paths: Vec<&str> = machine.host.files.iter().map(|file| file.path.as_str()).collect();
    paths.sort_unstable();
    paths
}

fn text<'a>(machine: &'a DesiredMachine, path: &str) -> std::borrow::Cow<'a, str> {
    let file = machine.host.files.iter().find(|file| file.path == path).expect(path);
    String::from_utf8_lossy(&file.content)
}

const SPEC: &str = "{workers: [{name: w, replicas: 2, labels: {tier: web, node-role.kubernetes.io/w: ''}, \
                    taints: [{key: a, value: b, effect: NoSchedule}, {key: c, effect: NoExecute}]}]}";

#[test]
fn a_worker_is_given_all_that_a_kubelet_needs_and_no_key_of_an_authority() {
    let lab = Lab::new(SPEC);
    let worker = lab.desired().machine("demo-w-1").unwrap();
    let paths = paths(worker);
    for needed in [
        "/etc/kubernetes/kubelet.conf",
        "/etc/kubernetes/pki/ca.crt",
        "/etc/systemd/system/kubelet.service",
        "/var/lib/kubelet/config.yaml",
        "/var/lib/kubelet/pki/kubelet.crt",
        "/var/lib/kubelet/pki/kubelet.key",
    ] {
        assert!(paths.contains(&needed), "{needed} is missing: {paths:?}");
    }
    let forbidden = |path: &&str| path.contains("manifests") || path.ends_with("ca.key") || path.contains("admin");
    assert!(!paths.iter().any(forbidden), "{paths:?}");
}

#[test]
fn a_workers_kubelet_talks_to_the_control_plane_under_its_own_name() {
    let lab = Lab::new(SPEC);
    let worker = lab.desired().machine("demo-w-2").unwrap();
    let kubeconfig = text(worker, "/etc/kubernetes/kubelet.conf");
    assert!(kubeconfig.contains("https://10.80.0.10:6443") && kubeconfig.contains("system:node:demo-w-2"));
    let unit = text(worker, "/etc/systemd/system/kubelet.service");
    for flag in [
        "--hostname-override=demo-w-2",
        "--node-ip=10.80.0.12",
        "--node-labels=tier=web",
        "--register-with-taints=a=b:NoSchedule,c=:NoExecute",
    ] {
        assert!(unit.contains(flag), "{flag}: {unit}");
    }
    assert!(!unit.contains("node-role"), "a kubelet may not give itself labels of Kubernetes");
}

#[test]
fn private_keys_are_for_root_only() {
    let lab = Lab::new(SPEC);
    for machine in &lab.desired().machines {
        for file in &machine.host.files {
            let secret = file.path.contains(".key") || String::from_utf8_lossy(&file.content).contains("client-key");
            assert!(!secret || file.mode == 0o600, "{file:?}");
        }
    }
}

#[test]
fn the_hash_of_a_host_stays_until_its_files_change() {
    let mut lab = Lab::new(SPEC);
    let hashes =
        |lab: &Lab| -> Vec<String> { lab.desired().machines.iter().map(|machine| machine.host.hash.clone()).collect() };
    let before = hashes(&lab);
    assert_ne!(before[1], before[2], "each machine has its own keys");
    lab.ask_for(SPEC, "v0.1.0-one");
    assert_eq!(hashes(&lab), before);
    lab.ask_for(SPEC, "v0.1.0-two");
    let after = hashes(&lab);
    assert_ne!(after[0], before[0], "its static pods have other images");
    assert_eq!(after[1..], before[1..], "a worker's files do not name the programs");
}

#[test]
fn a_balancer_is_given_the_servers_and_their_authority_and_no_key() {
    let lab = Lab::new("{controlPlane: {replicas: 3}, loadBalancer: {replicas: 2}}");
    let balancer = lab.desired().machine("demo-load-balancer-2").unwrap();
    assert_eq!(
        paths(balancer),
        ["/etc/haproxy/haproxy.cfg", "/etc/haproxy/kubernetes-ca.crt", "/etc/keepalived/keepalived.conf"]
    );
    let haproxy = text(balancer, "/etc/haproxy/haproxy.cfg");
    assert!(haproxy.contains("bind *:6443\n"), "{haproxy}");
    for server in ["demo-control-plane-1 10.80.0.10:6443", "demo-control-plane-3 10.80.0.12:6443"] {
        assert!(haproxy.contains(&format!("    server {server}\n")), "{haproxy}");
    }
    let keepalived = text(balancer, "/etc/keepalived/keepalived.conf");
    for line in ["10.80.0.2/24", "unicast_src_ip 10.80.0.14", "        10.80.0.13\n"] {
        assert!(keepalived.contains(line), "{line}: {keepalived}");
    }
    assert!(lab.desired().machine("demo-nobody-1").is_err());
}

#[test]
fn a_balancer_beside_an_api_server_leaves_it_its_port() {
    let lab = Lab::new("{controlPlane: {replicas: 3}, loadBalancer: {replicas: 0}}");
    let control_plane = lab.desired().machine("demo-control-plane-2").unwrap();
    assert!(text(control_plane, "/etc/haproxy/haproxy.cfg").contains("bind *:8443\n"));
    let kubelet = text(control_plane, "/etc/kubernetes/kubelet.conf");
    assert!(kubelet.contains("https://10.80.0.2:8443"), "{kubelet}");
    let services: Vec<&str> = control_plane.host.services.iter().map(|service| service.name).collect();
    assert_eq!(services, ["haproxy", "keepalived", "kubelet"]);
}

#[test]
fn a_kubelet_knows_every_api_server_and_prefers_its_own() {
    let lab = Lab::new("{controlPlane: {replicas: 3}, loadBalancer: {replicas: 1}, workers: [{name: w}]}");
    let servers = |name: &str| {
        let kubelet = text(lab.desired().machine(name).unwrap(), "/etc/kubernetes/kubelet.conf").into_owned();
        kubelet.lines().find(|line| line.contains("addresses:")).unwrap().trim().to_owned()
    };
    assert_eq!(
        servers("demo-control-plane-2"),
        r#"addresses: ["10.80.0.11:6443", "10.80.0.10:6443", "10.80.0.12:6443"]"#
    );
    assert_eq!(servers("demo-w-1"), r#"addresses: ["10.80.0.10:6443", "10.80.0.11:6443", "10.80.0.12:6443"]"#);
}

#[test]
fn external_etcd_keeps_the_key_of_its_authority_to_itself() {
    let lab = Lab::new("{etcd: {mode: external, replicas: 3}}");
    let member = lab.desired().machine("demo-etcd-2").unwrap();
    let unit = text(member, "/etc/systemd/system/etcd.service");
    assert!(unit.contains("--name=demo-etcd-2") && unit.contains("--initial-cluster=@initial-cluster@"), "{unit}");
    assert!(!paths(member).iter().any(|path| path.ends_with("ca.key") || path.contains("apiserver")));
    let server = lab.desired().machine("demo-control-plane-1").unwrap();
    assert!(!paths(server).iter().any(|path| path.ends_with("etcd/ca.key") || path.contains("etcd/peer")));
    let manifest = text(server, "/etc/kubernetes/manifests/kube-apiserver.yaml");
    let all = "--etcd-servers=https://10.80.0.11:2379,https://10.80.0.12:2379,https://10.80.0.13:2379\n";
    assert!(manifest.contains(all), "{manifest}");
}

#[test]
fn a_stacked_api_server_asks_the_member_beside_it() {
    let lab = Lab::new("{controlPlane: {replicas: 3}, loadBalancer: {}}");
    let server = lab.desired().machine("demo-control-plane-3").unwrap();
    let manifest = text(server, "/etc/kubernetes/manifests/kube-apiserver.yaml");
    assert!(manifest.contains("--etcd-servers=https://127.0.0.1:2379\n"), "{manifest}");
}

#[test]
fn add_ons_can_be_left_out() {
    let lab = Lab::new("{addons: {dns: {enabled: false}, proxy: {enabled: false}}}");
    let addons = &lab.desired().addons;
    assert!(addons.objects.is_empty() && addons.dns_address.is_none());
    assert_ne!(addons.hash, Lab::new("{}").desired().addons.hash);
}

#[test]
fn the_mark_of_a_manifest_is_text_even_if_it_has_only_digits() {
    let lab = Lab::new("{}");
    let machine = lab.desired().machine("demo-control-plane-1").unwrap();
    for (pod, mark) in &machine.host.static_pods {
        let file = pod.strip_suffix(&format!("-{}", machine.machine.name)).unwrap();
        let manifest = text(machine, &format!("/etc/kubernetes/manifests/{file}.yaml"));
        for digits in ["6e21505729128449", "1234567890123456", "00000000000000e1"] {
            let read: serde_json::Value = serde_saphyr::from_str(&manifest.replace(mark, digits)).unwrap();
            assert_eq!(read["metadata"]["annotations"][MANIFEST_MARK], digits, "{pod}");
        }
    }
    assert_eq!(machine.host.static_pods.len(), 4);
}
