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
fn machines_that_are_no_nodes_are_given_no_files() {
    let lab = Lab::new("{loadBalancer: {replicas: 1}}");
    assert!(lab.desired().machine("demo-load-balancer-1").unwrap().host.files.is_empty());
    assert!(lab.desired().machine("demo-nobody-1").is_err());
}

#[test]
fn add_ons_can_be_left_out() {
    let lab = Lab::new("{addons: {dns: {enabled: false}, proxy: {enabled: false}}}");
    let addons = &lab.desired().addons;
    assert!(addons.objects.is_empty() && addons.dns_address.is_none());
    assert_ne!(addons.hash, Lab::new("{}").desired().addons.hash);
}
