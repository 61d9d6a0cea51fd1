//! The direction of dependencies, and the libraries that one crate alone may use.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use cargo_metadata::{DependencyKind, MetadataCommand};

/// Every crate with its height: a crate may depend on lower ones only. Whole numbers are the layers of
/// `docs/architecture.md`, tenths the order inside a layer.
const HEIGHTS: [(&str, u32); 22] = [
    ("apimachinery", 10),
    ("pki", 10),
    ("topology", 10),
    ("api", 11),
    ("storage", 20),
    ("libvirt", 20),
    ("ssh", 20),
    ("cri", 20),
    ("netfilter", 20),
    ("component-base", 30),
    ("controller-runtime", 31),
    ("provision", 40),
    ("kube-apiserver", 40),
    ("kube-scheduler", 40),
    ("kube-controller-manager", 40),
    ("kubelet", 40),
    ("kube-proxy", 40),
    ("cluster-dns", 40),
    ("hyperkube", 41),
    ("bench", 50),
    ("tests", 50),
    ("xtask", 50),
];

/// Libraries that stand for the outside world, and the crates that may know them.
const WARDENS: [(&str, &[&str]); 5] = [
    ("etcd-client", &["storage"]),
    ("virt", &["libvirt"]),
    ("russh", &["ssh"]),
    ("k8s-cri", &["cri"]),
    ("storage", &["kube-apiserver", "tests"]),
];

/// What the pure layer must not reach for.
const IMPURE: [&str; 6] = ["tokio", "hyper", "reqwest", "kube", "nix", "rustix"];
const PURE_BELOW: u32 = 20;

/// Every arrow that points the wrong way.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let metadata = MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec()?;
    let heights: BTreeMap<&str, u32> = HEIGHTS.into_iter().collect();
    let mut problems = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some(height) = heights.get(name) else {
            problems.push(format!(
                "{name}: a new crate needs a layer in src/xtask/src/tidy/layers.rs and docs/architecture.md"
            ));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal) {
            let used = dependency.name.as_str();
            if heights.get(used).is_some_and(|below| below >= height) {
                problems.push(format!("{name} depends on {used}, which is not below it"));
            }
            let warded = WARDENS.iter().find(|(library, _)| *library == used);
            if let Some((_, wardens)) = warded.filter(|(_, wardens)| !wardens.contains(&name)) {
                problems.push(format!("{name} depends on {used}, which only {} may know", wardens.join(", ")));
            }
            if *height < PURE_BELOW && IMPURE.contains(&used) {
                problems.push(format!("{name} is pure and depends on {used}"));
            }
        }
    }
    Ok(problems)
}
