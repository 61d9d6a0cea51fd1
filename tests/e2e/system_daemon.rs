//! Clusters of a libvirt daemon that is not ours alone: the system's, on this machine and by way of SSH.

use harness::{Lab, SystemDaemon, skip_reason_of_long_tests};

const NAME: &str = "e2e-system";
const NODE: &str = "e2e-system-control-plane-1";
const FOREIGN_NETWORK: &str = "<network><name>foreign</name><bridge name='foreign0'/>
<ip address='10.87.0.1' netmask='255.255.255.0'><dhcp><range start='10.87.0.2' end='10.87.0.9'/></dhcp></ip></network>";

fn foreign_domain(name: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"
    )
}

fn topology(lab: &Lab, uri: &str) -> String {
    let text = format!(
        "apiVersion: provision.dev/v1alpha1
kind: Cluster
metadata: {{name: {NAME}}}
spec:
  infrastructure: {{libvirt: {{uri: '{uri}'}}}}
  controlPlane: {{machine: {{cpus: 2, memory: 2Gi}}}}
"
    );
    lab.write("topology.yaml", text.as_bytes()).display().to_string()
}

fn virsh(daemon: &SystemDaemon, args: &[&str]) -> String {
    daemon.run("virsh", &[&["-q", "-c", "qemu:///system"], args].concat())
}

#[test]
fn clusters_of_the_systems_daemon_touch_nothing_of_others() {
    if let Some(reason) = skip_reason_of_long_tests() {
        println!("skipped: {reason}");
        return;
    }
    let mut lab = Lab::new(NAME);
    let daemon = SystemDaemon::start(&lab.path("system"));
    lab.enter(daemon.pid());
    for (file, text) in [("foreign.xml", foreign_domain("foreign")), ("network.xml", FOREIGN_NETWORK.to_owned())] {
        lab.write(file, text.as_bytes());
    }
    virsh(&daemon, &["define", lab.path("foreign.xml").to_str().unwrap()]);
    virsh(&daemon, &["start", "foreign"]);
    virsh(&daemon, &["net-define", lab.path("network.xml").to_str().unwrap()]);
    virsh(&daemon, &["net-start", "foreign"]);
    let before = look(&daemon);

    a_foreign_machine_of_our_name_is_refused(&lab, &daemon);
    for uri in ["qemu:///system", &daemon.ssh_uri()] {
        let file = topology(&lab, uri);
        let ran = lab.provision(&["apply", &file]);
        let console = || lab.provision(&["console", NAME, NODE]).stdout;
        assert_eq!(ran.code, 0, "{uri}: {ran:?}\n--- console\n{}", console());
        let nodes = lab.kubectl(&["get", "nodes"]);
        assert!(nodes.contains(NODE) && nodes.contains(" Ready "), "{uri}: {nodes}");
        assert!(console().contains("PROVISION HOST KEY"), "{uri}: the console can be read");
        assert!(lab.provision(&["ssh", NAME, "--", "hostname"]).stdout.contains(NODE), "{uri}");
        machines_reach_the_world_through_the_host(&daemon);
        let again = lab.provision(&["apply", &file]);
        assert_eq!((again.code, again.stdout.contains("no change")), (0, true), "{uri}: {again:?}");
        assert_eq!(lab.provision(&["destroy", NAME, "--yes"]).code, 0, "{uri}");
        assert_eq!(look(&daemon), before, "{uri}: nothing is left and nothing of others has changed");
    }
}

/// Everything that the daemon and its host have.
fn look(daemon: &SystemDaemon) -> Vec<String> {
    let said = [
        virsh(daemon, &["list", "--all"]),
        virsh(daemon, &["dumpxml", "foreign"]),
        virsh(daemon, &["net-list", "--all"]),
        virsh(daemon, &["net-dumpxml", "foreign"]),
        virsh(daemon, &["pool-list", "--all"]),
        daemon.run("find", &["/var/lib/libvirt/images"]),
    ];
    said.into()
}

fn machines_reach_the_world_through_the_host(daemon: &SystemDaemon) {
    let networks = virsh(daemon, &["net-list", "--name"]);
    let ours = networks.lines().map(str::trim).find(|name| name.starts_with(NAME)).expect("our network is up");
    let described = virsh(daemon, &["net-dumpxml", ours]);
    assert!(described.contains("<forward mode='nat'>"), "{described}");
    assert!(!described.contains("10.87.0.1'"), "the range of the foreign network is left alone: {described}");
    assert!(daemon.run("nft", &["list", "ruleset"]).contains("masquerade"), "machines get the host's address outside");
}

fn a_foreign_machine_of_our_name_is_refused(lab: &Lab, daemon: &SystemDaemon) {
    let file = lab.write("same-name.xml", foreign_domain(NODE).as_bytes());
    virsh(daemon, &["define", file.to_str().unwrap()]);
    let described = virsh(daemon, &["dumpxml", NODE]);
    let ran = lab.provision(&["apply", &topology(lab, "qemu:///system")]);
    assert_ne!(ran.code, 0);
    assert!(
        ran.stderr.contains(&format!("domain \"{NODE}\"")) && ran.stderr.contains("belongs to somebody else"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("hint: give the cluster another name"), "{ran:?}");
    assert_eq!(virsh(daemon, &["dumpxml", NODE]), described, "it is as it was");
    virsh(daemon, &["undefine", NODE]);
}
