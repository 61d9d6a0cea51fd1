use super::*;

fn owner() -> Owner {
    Owner { cluster: "lab".into(), id: "7f".into() }
}

fn domain() -> Domain {
    Domain {
        name: "lab-cp-1".into(),
        uuid: "6b1f0f5e-0000-4000-8000-000000000001".into(),
        owner: owner(),
        hostname: "cp-1".into(),
        kvm: false,
        cpus: 2,
        memory_mib: 2048,
        kernel: Some(Kernel {
            image: "/i/vmlinuz".into(),
            initrd: "/i/initrd.img".into(),
            command_line: KERNEL_COMMAND_LINE.into(),
        }),
        disks: vec![Disk::root("/s/a&b.qcow2".into()), Disk::seed("/s/seed.img".into())],
        interfaces: vec![Interface { network: "lab".into(), mac: "52:54:00:00:00:01".into() }],
        console_log: "/s/console.log".into(),
    }
}

fn network() -> Network {
    Network {
        name: "lab".into(),
        uuid: "6b1f0f5e-0000-4000-8000-000000000002".into(),
        owner: owner(),
        bridge: "pv-lab".into(),
        nat: false,
        domain: "lab.internal".into(),
        gateway: [10, 87, 0, 1].into(),
        netmask: [255, 255, 255, 0].into(),
        range_start: [10, 87, 0, 200].into(),
        range_end: [10, 87, 0, 250].into(),
        hosts: vec![],
    }
}

#[test]
fn paths_are_escaped_and_disks_are_lettered() {
    let xml = domain().to_xml().unwrap();
    assert!(xml.contains("file='/s/a&amp;b.qcow2'"), "{xml}");
    assert!(xml.contains("dev='vda'") && xml.contains("dev='vdb'"));
    assert!(xml.contains("<serial>provision-seed</serial>"));
    assert_eq!(xml.matches("<readonly/>").count(), 1);
    assert!(xml.contains("type='qemu'") && xml.contains("mode='maximum'"));
}

#[test]
fn what_is_asked_for_shows_in_the_spec() {
    let (one, two) = (domain(), Domain { memory_mib: 4096, ..domain() });
    assert_ne!(one.spec().unwrap(), two.spec().unwrap());
    assert!(one.to_xml().unwrap().contains(&one.spec().unwrap()));
}

#[test]
fn machines_come_and_go_without_changing_their_network() {
    let host = DhcpHost { name: "cp-1".into(), mac: "52:54:00:00:00:01".into(), address: [10, 87, 0, 11].into() };
    let full = Network { hosts: vec![host], ..network() };
    assert_eq!(full.spec().unwrap(), network().spec().unwrap());
    assert!(full.to_xml().unwrap().contains("ip='10.87.0.11'"));
}

#[tokio::test]
async fn libvirt_takes_both_descriptions() {
    use libvirt::Hypervisor;
    let daemon = libvirt::Daemon::connect("test:///default").await.unwrap();
    daemon.ensure_network(&owner(), &network().to_xml().unwrap()).await.unwrap();
    let seen = &daemon.networks(&owner()).await.unwrap()[0];
    assert_eq!(seen.spec, network().spec().unwrap());
    assert_eq!(seen.subnet, Some("10.87.0.0/24".parse().unwrap()));
    let xml = domain().to_xml().unwrap().replacen("type='qemu'", "type='test'", 1);
    daemon.define_domain(&owner(), &xml).await.unwrap();
    assert_eq!(daemon.domains(&owner()).await.unwrap()[0].spec, domain().spec().unwrap());
}
