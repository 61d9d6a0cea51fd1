use ssh::Output;
use ssh::fake::FakeHost;

use super::*;

const NODE: Kit = Kit { node: true, etcd: false, balancer: false };

fn host(look: &'static str, lacking: &'static str) -> FakeHost {
    FakeHost::answering(
        "m-1",
        Box::new(move |script| {
            let text = match &script.text {
                text if text == LOOK => look,
                text if text.ends_with(RESOLVE) => lacking,
                _ => "",
            };
            Some(Ok(Output { stdout: text.into(), stderr: Vec::new() }))
        }),
    )
}

fn set(dir: &Path) -> PackageSet {
    std::fs::write(dir.join("Packages"), "index").unwrap();
    std::fs::write(dir.join("runc_1_amd64.deb"), "package").unwrap();
    PackageSet { dir: dir.to_owned(), suite: "trixie".into(), hash: "h".into() }
}

#[tokio::test]
async fn a_machine_that_has_it_is_left_alone() {
    let mark = format!("{}-node", PackageSpec::default().hash());
    let look: &'static str = Box::leak(format!("debian trixie\namd64\n{mark}\n").into_boxed_str());
    let host = host(look, "");
    install(&host, NODE, Path::new("/nonexistent"), &|_| {}).await.unwrap();
    assert_eq!(host.scripts(), [LOOK]);
}

#[tokio::test]
async fn a_system_without_fitting_packages_is_refused_by_name() {
    for look in ["ubuntu noble\namd64\n-\n", "debian trixie\narm64\n-\n", "debian unknown"] {
        let host = host(look, "");
        let refused = install(&host, NODE, Path::new("/nonexistent"), &|_| {}).await.unwrap_err();
        assert!(refused.to_string().starts_with("m-1 runs "), "{refused:#}");
        assert_eq!(crate::exit::classify(&refused), Exit::Host);
    }
}

#[tokio::test]
async fn only_what_the_machine_lacks_is_brought() {
    let dir = tempfile::tempdir().unwrap();
    let host = host("", "runc_1_amd64.deb\n");
    bring(&host, &set(dir.path()), NODE, &|_| {}).await.unwrap();
    let file = |name: &str| host.file(&format!("{PACKAGES}/{name}")).map(|file| file.content);
    assert_eq!(file("archives/runc_1_amd64.deb").as_deref(), Some(b"package".as_slice()));
    assert_eq!(file("Packages").as_deref(), Some(b"index".as_slice()));
    assert!(host.scripts().last().unwrap().starts_with("packages='containerd runc "));
}

#[tokio::test]
async fn a_machine_cannot_ask_for_other_files_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    for asked in ["../../secret\n", "haproxy_9_amd64.deb\n"] {
        let host = host("", asked);
        assert!(bring(&host, &set(dir.path()), NODE, &|_| {}).await.is_err());
    }
}

#[test]
fn a_machine_gets_what_all_that_it_is_needs() {
    let topology = |spec: &str| {
        let head = "apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {name: demo}\n";
        Topology::parse("t", &format!("{head}spec: {spec}\n")).unwrap()
    };
    let check = |spec: &str, role: &Role, name: &str, package: &str| {
        let kit = Kit::of(&topology(spec), role);
        assert_eq!(kit.name(), name);
        assert!(kit.packages().contains(package), "{name}: {}", kit.packages());
        assert!(kit.is_marked(&format!("0123-{name}")) && !kit.is_marked("-") && !kit.is_marked("0123-other"));
    };
    check("{}", &Role::ControlPlane, "node", "containerd runc");
    check("{loadBalancer: {replicas: 0}}", &Role::ControlPlane, "node+balancer", "conntrack haproxy keepalived");
    check("{loadBalancer: {}}", &Role::ControlPlane, "node", "containerd");
    check("{loadBalancer: {}}", &Role::LoadBalancer, "balancer", "haproxy");
    check("{etcd: {mode: external}}", &Role::Etcd, "etcd", "etcd-server");
}

#[test]
fn files_that_other_machines_need_are_files_of_the_node_image() {
    for path in NODE_FILES {
        assert!(files::FILES.iter().any(|file| file.path == *path), "{path}");
    }
}

#[test]
fn scripts_are_valid_shell() {
    for script in [LOOK, APT, RESOLVE, INSTALL, CONFIGURE, REMOVE] {
        let checked = std::process::Command::new("sh").args(["-n", "-c", script]).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}
