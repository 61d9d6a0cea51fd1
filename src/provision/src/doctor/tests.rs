use super::*;

fn healthy() -> Facts {
    let programs = host::PROGRAMS.iter().map(|program| Path::new("/usr/bin").join(program.name));
    let drivers = host::DRIVERS.iter().map(|(file, _)| Path::new("/usr/lib").join(file));
    Facts {
        needs: Needs {
            libvirt: Wanted::Embedded,
            cache_dir: "/var/cache/provision".into(),
            state_dir: "/var/lib/provision".into(),
            subnet: None,
            memory_mib: 2048,
        },
        root: true,
        programs: programs.chain(drivers).collect(),
        kvm: Kvm::Usable,
        libvirt: None,
        free_disk_mib: [Some(50_000), Some(50_000)],
        cpus: 4,
        available_memory_mib: 8192,
        routes: vec![],
        mirror: Some("http://m.example/debian".into()),
        missing_kernel_features: vec![],
    }
}

/// Breaks one thing and expects one finding, with these words in it.
fn check(name: &str, outcome: Outcome, words: &str, break_it: impl FnOnce(&mut Facts)) {
    let mut facts = healthy();
    break_it(&mut facts);
    let bad: Vec<Finding> =
        CHECKS.iter().map(|check| check(&facts)).filter(|finding| finding.outcome != Outcome::Ok).collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert_eq!((bad[0].check, bad[0].outcome), (name, outcome));
    let text = format!("{} {}", bad[0].detail, bad[0].cure.as_deref().expect("what is wrong has a cure"));
    assert!(text.contains(words), "{text}");
}

#[test]
fn a_healthy_machine_has_only_good_findings() {
    let report = Report { findings: CHECKS.iter().map(|check| check(&healthy())).collect() };
    assert!(report.is_fit());
    assert!(report.findings.iter().all(|finding| finding.outcome == Outcome::Ok && finding.cure.is_none()));
    assert!(report.to_string().starts_with("ok       root         running as root\nok "), "{report}");
}

#[test]
fn each_defect_is_found_by_one_check_with_its_cure() {
    check("root", Outcome::Failure, "sudo", |facts| facts.root = false);
    check("programs", Outcome::Failure, "install libvirt-daemon-driver-network", |facts| {
        facts.programs.retain(|path| !path.ends_with("libvirt_driver_network.so"));
    });
    check("programs", Outcome::Failure, "install qemu-utils", |facts| {
        facts.programs.retain(|path| !path.ends_with("qemu-img"));
    });
    check("image-tools", Outcome::Warning, "install mmdebstrap", |facts| {
        facts.programs.retain(|path| !path.ends_with("mmdebstrap"));
    });
    check("login", Outcome::Warning, "install openssh-client", |facts| {
        facts.programs.retain(|path| !path.ends_with("ssh"));
    });
    check("login", Outcome::Failure, "install openssh-client", |facts| {
        facts.needs.libvirt = Wanted::Uri("qemu+ssh://root@far/system".into());
        facts.libvirt = Some(Ok("fine".into()));
        facts.programs.retain(|path| !path.ends_with("ssh"));
    });
    check("cpus", Outcome::Warning, "at least 2 CPUs", |facts| facts.cpus = 1);
    check("kvm", Outcome::Warning, "TCG", |facts| facts.kvm = Kvm::Unusable("no".into()));
    check("libvirt", Outcome::Failure, "refused", |facts| {
        facts.needs.libvirt = Wanted::Uri(SYSTEM.into());
        facts.libvirt = Some(Err(("refused".into(), None)));
    });
    check("kernel", Outcome::Failure, "/dev/net/tun", |facts| facts.missing_kernel_features = vec!["tun devices"]);
    check("memory", Outcome::Failure, "8192 MiB available, 9000 MiB needed", |facts| facts.needs.memory_mib = 9000);
    check("disk", Outcome::Failure, "12 MiB free", |facts| facts.free_disk_mib[1] = Some(12));
    check("mirror", Outcome::Warning, "/etc/apt", |facts| facts.mirror = None);
    check("subnet", Outcome::Failure, "overlaps 10.0.0.0/8", |facts| {
        facts.needs.libvirt = Wanted::Uri(SYSTEM.into());
        facts.libvirt = Some(Ok("fine".into()));
        facts.needs.subnet = Some("10.1.0.0/24".parse().unwrap());
        facts.routes = vec!["10.0.0.0/8".parse().unwrap()];
    });
}

#[test]
fn a_private_network_may_use_a_range_of_the_host() {
    let mut facts = healthy();
    facts.needs.subnet = Some("10.1.0.0/24".parse().unwrap());
    facts.routes = vec!["10.0.0.0/8".parse().unwrap()];
    let findings: Vec<Finding> = CHECKS.iter().map(|check| check(&facts)).collect();
    assert!(Report { findings }.is_fit());
}

#[tokio::test]
async fn this_machine_can_be_examined() {
    let needs = Needs { memory_mib: 1, ..healthy().needs };
    let report = examine(needs).await;
    assert_eq!(report.findings.len(), CHECKS.len());
    assert!(serde_json::to_string(&report).unwrap().contains(r#""check":"kvm""#));
}
