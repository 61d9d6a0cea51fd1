//! A cluster on a machine that exists already: a plain Debian behind a bastion, as it was before and after.

use std::path::Path;
use std::time::{Duration, Instant};

use harness::{Lab, SystemDaemon, cloud_image, skip_reason_of_long_tests};
use provision::machines::{CloudSeed, Disk, Domain, Interface};

const NAME: &str = "e2e-existing";
const ADDRESS: &str = "10.99.0.10";
const MAC: &str = "52:54:00:99:00:10";
const PATIENCE: Duration = Duration::from_mins(6);
/// Machines have a way out, as real ones do: without one, a machine has no route to Services.
const NETWORK: &str =
    "<network><name>plain</name><bridge name='plain0'/><forward mode='open'/><ip address='10.99.0.1' netmask='255.255.255.0'>
<dhcp><range start='10.99.0.2' end='10.99.0.9'/><host mac='52:54:00:99:00:10' ip='10.99.0.10'/></dhcp></ip></network>";

#[test]
fn a_cluster_on_an_existing_machine_leaves_it_as_it_was() {
    if let Some(reason) = skip_reason_of_long_tests() {
        println!("skipped: {reason}");
        return;
    }
    let mut lab = Lab::new(NAME);
    let daemon = SystemDaemon::start(&lab.path("system"));
    lab.enter(daemon.pid());
    let key = plain_machine(&lab, &daemon);
    let bastion = format!(
        "bastion: {{address: 127.0.0.1, port: 2222, user: root, hostKey: '{}'}}, ",
        std::fs::read_to_string(daemon.file("host_key.pub")).unwrap().trim()
    );
    let before = look(&daemon);
    a_machine_that_is_another_one_is_refused(&lab, &daemon);
    a_machine_of_another_cluster_is_refused(&lab, &daemon, &topology(&daemon, &bastion, ADDRESS, &key));

    let file = write(&lab, &topology(&daemon, &bastion, ADDRESS, &key));
    let ran = lab.provision(&["apply", &file]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let nodes = lab.kubectl(&["get", "nodes", "-o", "wide"]);
    assert!(nodes.contains("plain-1") && nodes.contains(" Ready ") && nodes.contains(ADDRESS), "{nodes}");
    assert_eq!(lab.provision(&["ssh", NAME, "--", "hostname"]).stdout.trim(), "plain-1");
    let again = lab.provision(&["apply", &file]);
    assert_eq!((again.code, again.stdout.contains("no change")), (0, true), "{again:?}");
    let gone = lab.provision(&["destroy", NAME, "--yes"]);
    assert_eq!(gone.code, 0, "{gone:?}");
    let after = look(&daemon);
    let changed: Vec<&String> = before.iter().filter(|line| !after.contains(line)).collect();
    let left: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
    assert!(changed.is_empty() && left.is_empty(), "gone: {changed:#?}\nleft: {left:#?}");
}

/// A Debian with an sshd and nothing of ours; gives its host key.
fn plain_machine(lab: &Lab, daemon: &SystemDaemon) -> String {
    let images = daemon.file("var/lib/libvirt/images");
    std::fs::copy(cloud_image("trixie"), images.join("plain-1.qcow2")).unwrap();
    let resize =
        std::process::Command::new("qemu-img").arg("resize").arg(images.join("plain-1.qcow2")).arg("8G").output();
    assert!(resize.unwrap().status.success());
    let user_key = std::fs::read_to_string(daemon.file("user_key.pub")).unwrap().trim().to_owned();
    let seed = CloudSeed {
        instance_id: "plain-1".into(),
        hostname: "plain-1".into(),
        authorized_keys: vec![user_key],
        mac: MAC.into(),
    };
    seed.write(&images.join("plain-1.seed")).unwrap();
    let inside = |name: &str| Path::new("/var/lib/libvirt/images").join(name);
    let domain = Domain {
        name: "plain-1".into(),
        uuid: "0d1f6b8e-3f0b-4a53-9c3e-6a1b2c3d4e5f".into(),
        owner: libvirt::Owner { cluster: "nobody".into(), id: "0".into() },
        hostname: "plain-1".into(),
        kvm: false,
        cpus: 2,
        memory_mib: 2048,
        kernel: None,
        disks: vec![Disk::root(inside("plain-1.qcow2")), Disk::seed(inside("plain-1.seed"))],
        interfaces: vec![Interface { network: "plain".into(), mac: MAC.into() }],
        console_log: inside("plain-1.log"),
    };
    lab.write("plain.xml", NETWORK.as_bytes());
    lab.write("plain-1.xml", domain.to_xml().unwrap().as_bytes());
    for (verb, file) in [("net-create", "plain.xml"), ("create", "plain-1.xml")] {
        daemon.run("virsh", &["-q", "-c", "qemu:///system", verb, lab.path(file).to_str().unwrap()]);
    }
    let key = key_on(&images.join("plain-1.log"));
    let known_hosts = daemon.file("known_hosts");
    let known = std::fs::read_to_string(&known_hosts).unwrap();
    std::fs::write(known_hosts, format!("{known}{ADDRESS} {key}\n")).unwrap();
    // It listens a moment later than it says its key, stops while cloud-init works on it, and is done when that is.
    let ssh = daemon.file("ssh").display().to_string();
    let settled = "cloud-init status --wait >/dev/null; systemctl is-system-running --wait >/dev/null || true";
    let wait =
        format!("for _ in $(seq 120); do timeout 240 {ssh} root@{ADDRESS} '{settled}' && exit; sleep 1; done; exit 1");
    daemon.run("sh", &["-c", &wait]);
    key
}

fn key_on(console: &Path) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read(console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        if text.contains("END PROVISION HOST KEY")
            && let Some(line) = text.lines().find(|line| line.starts_with("ssh-ed25519 "))
        {
            return line.trim().to_owned();
        }
        assert!(Instant::now() < deadline, "the plain machine does not boot: {text}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn topology(daemon: &SystemDaemon, bastion: &str, address: &str, key: &str) -> String {
    let port = if address == ADDRESS { 22 } else { 2222 };
    format!(
        "apiVersion: provision.dev/v1alpha1
kind: Cluster
metadata: {{name: {NAME}}}
spec:
  infrastructure:
    hosts: {{user: root, identityFile: '{}', {bastion}machines: [
      {{name: plain-1, address: {address}, port: {port}, role: control-plane, hostKey: '{key}'}}]}}
",
        daemon.file("user_key").display()
    )
}

fn write(lab: &Lab, text: &str) -> String {
    lab.write("topology.yaml", text.as_bytes()).display().to_string()
}

/// The bastion itself answers there, but that is not an address that it has.
fn a_machine_that_is_another_one_is_refused(lab: &Lab, daemon: &SystemDaemon) {
    let key = std::fs::read_to_string(daemon.file("host_key.pub")).unwrap();
    let ran = lab.provision(&["apply", &write(lab, &topology(daemon, "", "127.0.0.2", key.trim()))]);
    assert_eq!((ran.code, ran.stderr.contains("has another address itself")), (5, true), "{ran:?}");
    assert_eq!(lab.provision(&["destroy", NAME, "--yes"]).code, 0);
}

fn a_machine_of_another_cluster_is_refused(lab: &Lab, daemon: &SystemDaemon, topology: &str) {
    daemon.ssh(ADDRESS, "mkdir /var/lib/provision; echo some-id other >/var/lib/provision/cluster");
    let ran = lab.provision(&["apply", &write(lab, topology)]);
    assert_eq!((ran.code, ran.stderr.contains("plain-1 belongs to the cluster other")), (5, true), "{ran:?}");
    assert_eq!(lab.provision(&["destroy", NAME, "--yes"]).code, 0);
    assert_eq!(daemon.ssh(ADDRESS, "cat /var/lib/provision/cluster"), "some-id other\n", "it is left alone");
    daemon.ssh(ADDRESS, "rm -r /var/lib/provision");
}

/// What a careful owner would compare: packages, files, links, units, mounts.
fn look(daemon: &SystemDaemon) -> Vec<String> {
    let script = "dpkg-query -W
find /etc /usr/local /opt /usr/lib/systemd /var/lib -xdev ! -path '/var/lib/systemd/*' ! -path '/var/lib/dpkg/*' ! -path '/var/lib/apt/*' ! -path '*/cloud/*'
find /etc -xdev -type f ! -name ld.so.cache ! -name '*-' -exec sha256sum {} +
ip -br link
awk '{ print \"mount\", $2, $3 }' /proc/mounts
systemctl list-units --no-legend --plain --type=service --state=active | awk '{ print \"unit\", $1 }'
readlink /etc/resolv.conf";
    let mut lines: Vec<String> = daemon.ssh(ADDRESS, script).lines().map(str::to_owned).collect();
    // Sessions come and go, and so does what answers them.
    lines.retain(|line| {
        !["user@", "user-runtime", "/run/user", "session", "systemd-hostnamed", "systemd-timedated"]
            .iter()
            .any(|word| line.contains(word))
    });
    lines.sort();
    lines
}
