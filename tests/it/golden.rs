//! What machines are given, to the byte: every template as it is rendered for every example topology, and every mistake
//! in a topology as it is told. `UPDATE_GOLDEN=1` writes the files anew; then the diff is what to look at.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use provision::allocate::{self, Site};
use provision::config::Config;
use provision::desired::{Components, Desired, DesiredMachine};
use provision::image::NodeImage;
use provision::image::build::Manifest;
use provision::machines::Kernel;
use provision::progress::Format;
use provision::state::StateDir;
use provision::world::libvirt::Libvirt;
use topology::Topology;

type Files = BTreeMap<String, String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[expect(clippy::disallowed_methods, reason = "the tests are told by their caller what to do")]
fn updates() -> bool {
    std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1")
}

/// Files with this ending in a folder, by their names without it.
fn sources(folder: &Path, extension: &str) -> Vec<(String, String)> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == extension) {
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            sources.push((stem, std::fs::read_to_string(&path).unwrap()));
        }
    }
    sources.sort();
    sources
}

/// Everything that is rendered for a topology, by where it goes.
fn rendered(topology: Topology) -> Files {
    // Nothing is there, so all keys are fresh, and nothing is written.
    let state = StateDir::new(Path::new("/nonexistent/state"), topology.name());
    let site = Site {
        id: "11111111-2222-4333-8444-555555555555".parse().unwrap(),
        libvirt: "embedded".to_owned(),
        subnet: "10.80.0.0/24".parse().unwrap(),
        api_port: Some(16443),
        emulated: false,
    };
    let mut allocations = allocate::fresh(&topology, &site);
    allocate::extend(&mut allocations, &topology).unwrap();
    let components = Components { hyperkube: "/nonexistent/hyperkube".into(), tag: "v0.1.0-golden".to_owned() };
    let desired = Desired::new(topology, allocations, components, &state).unwrap();
    let mut files = Files::new();
    hosts(&desired, &mut files);
    for object in &desired.addons.objects {
        let name = format!("addons/{}-{}.json", object["kind"], object["metadata"]["name"]).replace(['"', ':'], "");
        files.insert(name, serde_json::to_string_pretty(object).unwrap() + "\n");
    }
    files.insert("kubeconfig".to_owned(), masked(&desired.kubeconfig));
    // Machines that exist already are described by their owners, not by us.
    if desired.allocations.hosts.is_none() {
        descriptions(&desired, &state, &mut files);
    }
    files
}

/// Of many machines of one role the first stands for all.
fn shown(desired: &Desired) -> Vec<&DesiredMachine> {
    let few = desired.machines.len() <= 10;
    let first = |machine: &&DesiredMachine| few || machine.machine.name.ends_with("-1");
    desired.machines.iter().filter(first).collect()
}

/// The files of every host, and a list of all with their modes; what is secret or differs from run to run is only listed.
fn hosts(desired: &Desired, files: &mut Files) {
    for machine in shown(desired) {
        let name = &machine.machine.name;
        let mut list = String::new();
        let mut sorted: Vec<_> = machine.host.files.iter().collect();
        sorted.sort_by(|one, other| one.path.cmp(&other.path));
        for file in sorted {
            let _ = writeln!(list, "{:o} {}", file.mode, file.path);
            let text = String::from_utf8(file.content.to_vec()).unwrap();
            if !text.contains("-----BEGIN") {
                files.insert(format!("{name}{}", file.path), masked(&text));
            }
        }
        files.insert(format!("{name}/files"), list);
    }
}

/// What libvirt is asked for.
fn descriptions(desired: &Desired, state: &StateDir, files: &mut Files) {
    let config = Config {
        state_dir: "/nonexistent/state".into(),
        cache_dir: "/nonexistent/cache".into(),
        hyperkube: None,
        kubeconfig: None,
        output: Format::Text,
    };
    let libvirt = Libvirt::new(desired, state, &config).unwrap();
    let network = libvirt.describe_network(false).unwrap();
    files.insert("libvirt/network.xml".to_owned(), network.to_xml().unwrap());
    for machine in shown(desired) {
        let name = &machine.machine.name;
        let domain = libvirt.describe_machine(name, Some(Kernel::of(&image())), true).unwrap();
        files.insert(format!("libvirt/{name}.xml"), domain.to_xml().unwrap());
    }
}

fn image() -> NodeImage {
    let file = |name: &str| Path::new("/nonexistent/cache/images/golden").join(name);
    NodeImage {
        disk: file("disk.raw"),
        kernel: file("vmlinuz"),
        initrd: file("initrd"),
        etcd_layer: file("etcd.tar"),
        netfilter_layer: file("netfilter.tar"),
        hash: "golden".to_owned(),
        manifest: Manifest {
            suite: "trixie".to_owned(),
            kernel: "6.12".to_owned(),
            build_seconds: 0.0,
            packages: Vec::new(),
        },
    }
}

/// The same text without keys and certificates.
fn masked(text: &str) -> String {
    let mask = |line: &str| match line.split_once("-data: ") {
        Some((field, _)) => format!("{field}-data: (masked)\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(mask).collect()
}

/// Every file below a folder, by its path in it.
fn present(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

/// Holds what is rendered against what was agreed upon; both must have the same files.
fn check(folder: &Path, wanted: &Files) {
    if updates() {
        let _ = std::fs::remove_dir_all(folder);
        for (name, text) in wanted {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
    let agreed = present(folder);
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    let hint = format!("{}: UPDATE_GOLDEN=1 writes these files anew", folder.display());
    assert_eq!(names(wanted), names(&agreed), "{hint}");
    for (name, text) in wanted {
        assert_eq!(text, &agreed[name], "{name}; {hint}");
    }
}

#[test]
fn what_is_rendered_for_the_example_topologies_is_what_was_agreed_upon() {
    for (name, text) in sources(&root().join("topologies"), "yaml") {
        let topology = Topology::parse(&name, &text).unwrap();
        // What a machine boots of a cloud image is not known here.
        if topology.cluster().spec.image.cloud.is_none() {
            check(&root().join("tests/golden").join(&name), &rendered(topology));
        }
    }
}

#[test]
fn what_is_rendered_does_not_differ_from_run_to_run() {
    let (_, text) = sources(&root().join("topologies"), "yaml").swap_remove(0);
    let once = || rendered(Topology::parse("t", &text).unwrap());
    assert_eq!(once(), once());
}

#[test]
fn every_manifest_is_yaml_and_every_unit_has_its_sections() {
    for (name, text) in sources(&root().join("topologies"), "yaml") {
        for (file, text) in rendered(Topology::parse(&name, &text).unwrap()) {
            assert!(!text.contains("{{"), "{file} of {name} has a place that was not filled");
            if file.contains("/manifests/") {
                assert!(text.starts_with("apiVersion: v1\nkind: Pod\n"), "{file}");
            }
            if file.ends_with("kubelet.service") {
                assert!(text.contains("[Unit]\n") && text.contains("[Install]\n"), "{file}");
            }
        }
    }
}

#[test]
fn wrong_topologies_are_refused_with_the_words_beside_them() {
    let folder = root().join("tests/golden/invalid");
    let told: Files = sources(&folder, "yaml")
        .into_iter()
        .map(|(name, text)| {
            let error = Topology::parse(&format!("{name}.yaml"), &text).expect_err(&name);
            (name, format!("{error}\n"))
        })
        .collect();
    assert!(told.len() > 10);
    if updates() {
        for (name, text) in &told {
            std::fs::write(folder.join(format!("{name}.txt")), text).unwrap();
        }
    }
    assert_eq!(told, sources(&folder, "txt").into_iter().collect(), "UPDATE_GOLDEN=1 writes the texts anew");
}
