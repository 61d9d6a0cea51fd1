//! What cannot change in a cluster that exists, and topologies that are made from others.

use crate::defaults;
use crate::document::Node;
use crate::error::{InvalidTopology, Problem};
use crate::parse::Topology;
use crate::spec::{Cluster, EtcdMode, MachineSize, Spec};

/// A field that is fixed when the cluster is made.
struct Fixed {
    path: &'static str,
    why: &'static str,
    value: fn(&Spec) -> String,
}

const FIXED: &[Fixed] = &[
    Fixed {
        path: "spec.network.pods",
        why: "every Node and pod has an address from it",
        value: |spec| spec.network.pods.to_string(),
    },
    Fixed {
        path: "spec.network.services",
        why: "every Service has an address from it, and the API server's certificate names the first",
        value: |spec| spec.network.services.to_string(),
    },
    Fixed {
        path: "spec.network.nodePrefix",
        why: "every Node has a range of this size",
        value: |spec| spec.network.node_prefix.to_string(),
    },
    Fixed {
        path: "spec.network.domain",
        why: "it stands in the certificates and in the resolver of every pod",
        value: |spec| spec.network.domain.clone(),
    },
    Fixed {
        path: "spec.etcd.mode",
        why: "the members of etcd hold the cluster's data where they are",
        value: |spec| format!("{:?}", spec.etcd.mode).to_lowercase(),
    },
    Fixed {
        path: "spec.infrastructure.libvirt.uri",
        why: "the machines live on that daemon",
        value: |spec| spec.infrastructure.libvirt.clone().unwrap_or_default().uri,
    },
    Fixed {
        path: "spec.infrastructure.hosts",
        why: "its machines are of the other kind",
        value: |spec| {
            if spec.infrastructure.hosts.is_some() { "machines that exist" } else { "virtual machines" }.into()
        },
    },
    Fixed {
        path: "spec.image",
        why: "the disks of its machines are made on that image",
        value: |spec| if spec.image.cloud.is_some() { "a cloud image" } else { "the node image" }.into(),
    },
];

impl Topology {
    /// Reads and checks the topology of a cluster that exists and was made from `before`.
    ///
    /// # Errors
    /// Every problem of the text at once; a field that cannot change any more is one, with its place.
    pub fn parse_successor(file: &str, text: &str, before: &Self) -> Result<Self, InvalidTopology> {
        let after = Self::parse(file, text)?;
        let mut problems = changed(&before.cluster().spec, &after.cluster().spec);
        if problems.is_empty() {
            return Ok(after);
        }
        if let Ok(document) = serde_saphyr::from_str::<Node>(text) {
            for problem in &mut problems {
                (problem.line, problem.column) = document.locate(&problem.path);
            }
        }
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Err(InvalidTopology { file: file.to_owned(), problems })
    }

    /// This topology with something changed, checked like any other; `what` names it in errors.
    ///
    /// # Errors
    /// What the change makes wrong. Problems have paths and no places: there is no file.
    pub fn with(&self, what: &str, change: impl FnOnce(&mut Cluster)) -> Result<Self, InvalidTopology> {
        let mut cluster = self.cluster().clone();
        change(&mut cluster);
        let text = serde_saphyr::to_string(&cluster).expect("a checked topology holds only plain data");
        Self::parse(what, &text).map_err(|mut invalid| {
            for problem in &mut invalid.problems {
                (problem.line, problem.column) = (0, 0);
            }
            invalid
        })
    }
}

fn changed(before: &Spec, after: &Spec) -> Vec<Problem> {
    let mut problems: Vec<Problem> = FIXED
        .iter()
        .filter_map(|field| {
            let (old, new) = ((field.value)(before), (field.value)(after));
            (old != new).then(|| refusal(field.path, &old, &new, field.why))
        })
        .collect();
    // What was left open was chosen once; writing that down, or something else, is told apart by those who know it.
    let network = |spec: &Spec| spec.infrastructure.libvirt.as_ref().and_then(|libvirt| libvirt.network);
    if let (Some(old), Some(new)) = (network(before), network(after))
        && old != new
    {
        let why = "the machines have addresses from it";
        problems.push(refusal("spec.infrastructure.libvirt.network", &old.to_string(), &new.to_string(), why));
    }
    problems.extend(sizes(before, after));
    let address = |spec: &Spec| spec.load_balancer.as_ref().and_then(|balancer| balancer.address);
    if let (Some(old), Some(new)) = (address(before), address(after))
        && old != new
    {
        let why = "every Node and kubeconfig finds the API there";
        problems.push(refusal("spec.loadBalancer.address", &old.to_string(), &new.to_string(), why));
    }
    problems
}

/// Machines keep the size that they were made with. Where there are none of a kind, any size may be asked for.
fn sizes(before: &Spec, after: &Spec) -> Vec<Problem> {
    let balancers = |spec: &Spec| spec.load_balancer.as_ref().map_or((0, None), |it| (it.replicas, Some(it.machine)));
    let ((balancers, old_balancer), (_, new_balancer)) = (balancers(before), balancers(after));
    let external = before.etcd.mode == EtcdMode::External;
    let mut kinds = vec![("spec.controlPlane".to_owned(), before.control_plane.machine, after.control_plane.machine)];
    if external {
        kinds.push(("spec.etcd".to_owned(), before.etcd.machine, after.etcd.machine));
    }
    if let (1.., Some(old), Some(new)) = (balancers, old_balancer, new_balancer) {
        kinds.push(("spec.loadBalancer".to_owned(), old, new));
    }
    for (index, pool) in after.workers.iter().enumerate() {
        let old = before.workers.iter().find(|old| old.name == pool.name && old.replicas > 0);
        kinds.extend(old.map(|old| (format!("spec.workers[{index}]"), old.machine, pool.machine)));
    }
    kinds.iter().flat_map(|(path, old, new)| resized(path, *old, *new)).collect()
}

fn resized(path: &str, old: MachineSize, new: MachineSize) -> Vec<Problem> {
    let is_node = path == "spec.controlPlane" || path.starts_with("spec.workers");
    let memory = if is_node { defaults::MEMORY } else { defaults::SMALL_MEMORY };
    let cpus = |size: MachineSize| size.cpus.unwrap_or(defaults::CPUS).to_string();
    let memory = |size: MachineSize| size.memory.unwrap_or(memory).to_string();
    let disk = |size: MachineSize| size.disk.unwrap_or(defaults::DISK).to_string();
    let fields = [("cpus", cpus(old), cpus(new)), ("memory", memory(old), memory(new)), ("disk", disk(old), disk(new))];
    let cure = if path.starts_with("spec.workers") {
        "add a pool of the new size, and when its Nodes are Ready take this one away"
    } else {
        "make a cluster of the new size"
    };
    let refuse = |(field, old, new): (&str, String, String)| Problem {
        line: 0,
        column: 0,
        path: format!("{path}.machine.{field}"),
        message: format!(
            "cannot change from {old} to {new}: machines keep the size that they were made with; write {old} again, or {cure}"
        ),
    };
    fields.into_iter().filter(|(_, old, new)| old != new).map(refuse).collect()
}

fn refusal(path: &str, old: &str, new: &str, why: &str) -> Problem {
    let message = format!(
        "cannot change from {old} to {new} in a cluster that exists: {why}; write {old} again, or destroy the cluster and \
         make it anew"
    );
    Problem { line: 0, column: 0, path: path.to_owned(), message }
}

#[cfg(test)]
mod tests;
