//! The Vagrantfile is valid, and asks for the machines that the topology asks for.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// What `vagrant` says of a topology; nothing if it is not installed.
fn vagrant(topology: &Path, home: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new("vagrant");
    command.args(args).current_dir(root().join("vagrant"));
    command.env("TOPOLOGY", topology).env("HOME", home).env("VAGRANT_HOME", home.join("vagrant.d"));
    command.env("VAGRANT_DOTFILE_PATH", home.join("dot")).env("VAGRANT_CHECKPOINT_DISABLE", "1");
    match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        output => {
            let output = output.unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr);
            if said.contains("usable default provider") || errors.contains("usable default provider") {
                return None;
            }
            assert!(output.status.success(), "{args:?}: {said}{errors}");
            Some(said)
        }
    }
}

#[test]
fn the_vagrantfile_brings_up_the_machines_of_a_topology() {
    let home = tempfile::tempdir().unwrap();
    let text = "apiVersion: provision.dev/v1alpha1
kind: Cluster
metadata: {name: demo}
spec:
  controlPlane: {replicas: 3, machine: {cpus: 2, memory: 3Gi}}
  etcd: {mode: external, replicas: 3}
  loadBalancer: {replicas: 2}
  workers: [{name: small, replicas: 2}, {name: large, machine: {cpus: 4, memory: 8Gi}}]
";
    let file = home.path().join("demo.yaml");
    std::fs::write(&file, text).unwrap();
    let Some(said) = vagrant(&file, home.path(), &["status", "--machine-readable"]) else {
        return println!("skipped: vagrant and vagrant-libvirt are not installed");
    };
    let topology = topology::Topology::parse("demo.yaml", text).unwrap();
    let mut wanted: Vec<String> = topology.machines().into_iter().map(|machine| machine.name).collect();
    let mut seen: Vec<&str> = said
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(',').skip(1);
            let name = fields.next()?;
            (fields.next() == Some("state")).then_some(name)
        })
        .collect();
    wanted.sort();
    seen.sort_unstable();
    assert_eq!(seen, wanted);
    let single = root().join("topologies/single-node.yaml");
    let said = vagrant(&single, home.path(), &["validate"]).unwrap();
    assert!(said.contains("validated successfully"), "{said}");
}
