use std::collections::BTreeSet;

use libvirt::volume::DiskFormat;
use libvirt::{DhcpHost, Overlay};

use super::boot::Base;
use super::*;
use crate::desired::Components;
use crate::image::build::Manifest;
use crate::image::{ComponentDisk, ImageSpec};
use crate::progress::Format;
use crate::world::simulated::{Faults, Lab};

fn adapter(lab: &Lab) -> Libvirt {
    let config = Config {
        state_dir: "/nonexistent/state".into(),
        cache_dir: "/nonexistent/cache".into(),
        hyperkube: None,
        kubeconfig: None,
        output: Format::Text,
    };
    Libvirt::new(lab.desired(), &lab.state, &config).unwrap()
}

fn described(lab: &Lab, name: &str) -> Result<String> {
    adapter(lab).describe_machine(name, None, true)?.to_xml()
}

/// The same on libvirt's own test daemon, which is one for the whole process.
fn on_test_daemon(lab: &Lab) -> Libvirt {
    let mut libvirt = adapter(lab);
    libvirt.allocations.libvirt = "test:///default".to_owned();
    libvirt.store = Store::of(&libvirt.allocations, &lab.state, &libvirt.owner);
    libvirt
}

async fn up(spec: &str) -> Lab {
    let mut lab = Lab::new(spec);
    lab.up(Faults::None, 0).await.plan();
    lab
}

/// Machines for which the network keeps an address.
async fn promised(libvirt: &Libvirt) -> Vec<DhcpHost> {
    let daemon = &libvirt.selected().await.unwrap().daemon;
    let mut networks = daemon.networks(&libvirt.owner).await.unwrap();
    assert_eq!(networks.len(), 1);
    networks.remove(0).hosts
}

#[tokio::test]
async fn a_machine_that_goes_takes_its_files_and_its_address_along() {
    let lab = up("{workers: [{name: w, replicas: 11}]}").await;
    let libvirt = on_test_daemon(&lab);
    let daemon = &libvirt.selected().await.unwrap().daemon;
    let pool = libvirt.store.pool().unwrap();
    daemon.ensure_pool(pool).await.unwrap();
    libvirt.create_network().await.unwrap();
    let mut expected = BTreeSet::new();
    for name in libvirt.allocations.machines.keys() {
        for end in ["qcow2", "seed", "log", "log.0"] {
            let file = format!("{name}.{end}");
            let below = "base.disk".to_owned();
            let volume = Overlay { name: file.clone(), base: below, format: DiskFormat::Raw, bytes: 1 << 20 };
            daemon.ensure_overlay(pool, &volume).await.unwrap();
            expected.insert(file);
        }
        let domain = libvirt.describe_machine(name, None, false).unwrap().to_xml().unwrap();
        let domain = domain.replacen("type='qemu'", "type='test'", 1);
        daemon.define_domain(&libvirt.owner, &domain).await.unwrap();
        daemon.start_domain(&libvirt.owner, name).await.unwrap();
    }
    for _ in 0..2 {
        libvirt.remove_machine("demo-w-1").await.unwrap();
    }
    expected.retain(|file| !file.starts_with("demo-w-1."));
    let volumes = daemon.volumes(pool).await.unwrap().unwrap();
    assert_eq!(volumes.into_iter().collect::<BTreeSet<_>>(), expected);
    let domains = daemon.domains(&libvirt.owner).await.unwrap();
    let domains: BTreeSet<String> = domains.into_iter().map(|domain| domain.name).collect();
    let promised: BTreeSet<String> = promised(&libvirt).await.into_iter().map(|host| host.name).collect();
    let mut staying: BTreeSet<String> = libvirt.allocations.machines.keys().cloned().collect();
    staying.remove("demo-w-1");
    assert_eq!((&domains, &promised), (&staying, &staying));
    libvirt.remove_network().await.unwrap();
    libvirt.remove_store().await.unwrap();
    assert_eq!(daemon.volumes(pool).await.unwrap(), None);
    assert!(daemon.networks(&libvirt.owner).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_machine_that_is_younger_than_its_network_is_promised_its_address() {
    let mut lab = up("{workers: [{name: w}]}").await;
    let older = on_test_daemon(&lab);
    older.create_network().await.unwrap();
    assert_eq!(promised(&older).await.len(), 2);
    lab.ask_for("{workers: [{name: w, replicas: 2}]}", "v0.1.0-one");
    lab.up(Faults::None, 0).await.plan();
    let libvirt = on_test_daemon(&lab);
    let daemon = &libvirt.selected().await.unwrap().daemon;
    for name in ["demo-w-1", "demo-w-2", "demo-w-2"] {
        libvirt.promise(daemon, name).await.unwrap();
    }
    let promised = promised(&libvirt).await;
    let younger = promised.iter().find(|host| host.name == "demo-w-2").unwrap();
    let allocated = &libvirt.allocations.machines["demo-w-2"];
    assert_eq!((promised.len(), younger.address, &younger.mac), (3, allocated.address, &allocated.mac));
}

#[tokio::test]
async fn files_of_a_machine_that_goes_are_known_by_their_names() {
    let lab = up("{}").await;
    let store = adapter(&lab).store;
    let ours =
        ["disks/lab-1.qcow2", "disks/lab-1.seed", "disks/lab-1.draft", "console/lab-1.log", "console/lab-1.log.0"];
    let others = ["disks/lab-10.qcow2", "disks/lab.qcow2", "console/lab-10.log"];
    for folder in ["disks", "console"] {
        std::fs::create_dir_all(lab.state.path(folder)).unwrap();
    }
    for file in ours.iter().chain(&others) {
        std::fs::write(lab.state.path(file), "").unwrap();
    }
    for _ in 0..2 {
        store.remove_files(None, "lab-1").await.unwrap();
    }
    let left = |files: &[&str]| files.iter().filter(|file| lab.state.path(file).exists()).count();
    assert_eq!((left(&ours), left(&others)), (0, 3));
}

#[tokio::test]
async fn a_member_that_goes_is_described_as_it_was_made() {
    let spec = |n: u32| {
        let size = "machine: {cpus: 3, memory: 3Gi}";
        format!("{{controlPlane: {{replicas: {n}, {size}}}, loadBalancer: {{}}, workers: [{{name: w{n}}}]}}")
    };
    let mut lab = Lab::new(&spec(3));
    lab.up(Faults::None, 0).await.plan();
    let name = "demo-control-plane-3";
    let made = described(&lab, name).unwrap();
    lab.ask_for(&spec(1), "v0.1.0-one");
    assert!(lab.desired().machine(name).is_err(), "nobody asks for it any more");
    assert_eq!(described(&lab, name).unwrap(), made);
    // Of a pool that is gone nobody knows the size, and nothing of it has to start again.
    assert_eq!(described(&lab, "demo-w3-1").unwrap_err().to_string(), "nobody says how large demo-w3-1 is");
}

/// What qemu-img says that a disk lies over.
fn below(disk: &Path) -> String {
    let info = std::process::Command::new("qemu-img").args(["info", "--output=json"]).arg(disk).output().unwrap();
    assert!(info.status.success(), "{info:?}");
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    info["backing-filename"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_disk_lies_over_the_components_if_they_are_in_place_and_an_old_one_stays_as_it_is() {
    let lab = up("{workers: [{name: w}]}").await;
    let libvirt = on_test_daemon(&lab);
    let daemon = &libvirt.selected().await.unwrap().daemon;
    let file = |name: &str| lab.state.path(name);
    let (plain, filled) = (file("disk.raw"), file("components-1.qcow2"));
    std::fs::File::create(&plain).unwrap().set_len(1 << 20).unwrap();
    libvirt::volume::create_overlay(&filled, &plain, DiskFormat::Raw, 1 << 20).await.unwrap();
    let mut base =
        Base { id: "1".into(), disk: plain.clone(), format: DiskFormat::Raw, components: None, kernel: None };
    let store = Store::Files(lab.state.clone());
    store.make_disk(daemon, &base, "demo-w-1", 1 << 21).await.unwrap();
    assert_eq!(below(&store.disk("demo-w-1")), plain.display().to_string());
    base.components = Some(ComponentDisk { disk: filled.clone() });
    for name in ["demo-w-1", "demo-w-2"] {
        store.make_disk(daemon, &base, name, 1 << 21).await.unwrap();
    }
    assert_eq!(below(&store.disk("demo-w-1")), plain.display().to_string());
    assert_eq!(below(&store.disk("demo-w-2")), filled.display().to_string());
}

#[tokio::test]
async fn components_that_cannot_be_put_in_place_leave_the_image_as_it_is() {
    let cache = tempfile::tempdir().unwrap();
    let spec = ImageSpec::default();
    let dir = cache.path().join("images").join(spec.hash());
    let manifest = Manifest { suite: "trixie".into(), kernel: "6.12".into(), build_seconds: 1.0, packages: vec![] };
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
    for file in ["disk.raw", "etcd.tar", "netfilter.tar"] {
        std::fs::write(dir.join(file), "no disk").unwrap();
    }
    let hyperkube = cache.path().join("hyperkube");
    std::fs::write(&hyperkube, "program").unwrap();
    let boot = Boot::Node(spec, Components { hyperkube, tag: "v0.1.0-one".into() });
    let log = cache.path().join("log");
    let file = std::sync::Arc::new(std::fs::File::create(&log).unwrap());
    let logging = tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(file).finish());
    boot.stock(cache.path(), &|_| {}).await;
    drop(logging);
    let said = std::fs::read_to_string(log).unwrap();
    assert_eq!((said.lines().count(), said.contains("each machine is brought them")), (1, true), "{said}");
    assert!(!boot.is_stocked(cache.path()));
    assert_eq!(boot.base(cache.path()).await.unwrap().components, None);
    let left = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: BTreeSet<String> = left.filter(|name| name != ".lock").collect();
    assert_eq!(left, ["disk.raw", "etcd.tar", "manifest.json", "netfilter.tar"].map(str::to_owned).into());
}
