//! The machines that a topology asks for, by name and in a fixed order.

use std::collections::BTreeMap;

use crate::defaults;
use crate::parse::Topology;
use crate::spec::{EtcdMode, MachineSize, Taint};
use crate::units::Bytes;

/// What a machine is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Runs the API server, scheduler, controllers and, if stacked, an etcd member.
    ControlPlane,
    /// Runs one external etcd member.
    Etcd,
    /// Balances the API servers.
    LoadBalancer,
    /// Runs workloads; the name is the pool's.
    Worker(String),
}

/// A machine that shall exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `<cluster>-<role or pool>-<number>`; also the name of its domain, its host name and its Node.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Virtual CPUs.
    pub cpus: u16,
    /// Memory.
    pub memory: Bytes,
    /// Size of its disk.
    pub disk: Bytes,
    /// Labels of its Node, if it has one.
    pub labels: BTreeMap<String, String>,
    /// Taints of its Node, if it has one.
    pub taints: Vec<Taint>,
}

impl Role {
    /// Whether a machine of this role is a Node of the cluster.
    pub fn is_node(&self) -> bool {
        matches!(self, Self::ControlPlane | Self::Worker(_))
    }

    /// The role as it stands in the names of machines.
    pub fn slug(&self) -> &str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Etcd => "etcd",
            Self::LoadBalancer => "load-balancer",
            Self::Worker(pool) => pool,
        }
    }

    /// The role that stands in the name of a machine; see [`Role::slug`].
    pub fn from_slug(slug: &str) -> Self {
        match slug {
            "control-plane" => Self::ControlPlane,
            "etcd" => Self::Etcd,
            "load-balancer" => Self::LoadBalancer,
            pool => Self::Worker(pool.to_owned()),
        }
    }
}

impl Topology {
    /// Every machine, control plane first; the order and the names depend on nothing but the topology.
    pub fn machines(&self) -> Vec<Machine> {
        let spec = &self.cluster().spec;
        let control_plane = &spec.control_plane;
        let mut machines = Vec::new();
        self.extend(&mut machines, &Role::ControlPlane, control_plane.replicas, control_plane.machine);
        for machine in &mut machines {
            machine.labels.clone_from(&control_plane.labels);
            if !self.control_plane_schedulable() {
                machine.taints.push(control_plane_taint());
            }
        }
        if spec.etcd.mode == EtcdMode::External {
            let replicas = spec.etcd.replicas.unwrap_or(control_plane.replicas);
            self.extend(&mut machines, &Role::Etcd, replicas, spec.etcd.machine);
        }
        if let Some(balancer) = &spec.load_balancer {
            self.extend(&mut machines, &Role::LoadBalancer, balancer.replicas, balancer.machine);
        }
        for pool in &spec.workers {
            let first = machines.len();
            self.extend(&mut machines, &Role::Worker(pool.name.clone()), pool.replicas, pool.machine);
            for machine in &mut machines[first..] {
                machine.labels.clone_from(&pool.labels);
                machine.taints.clone_from(&pool.taints);
            }
        }
        self.name_existing(&mut machines);
        machines
    }

    /// Whether machines of this role run an etcd member.
    pub fn has_etcd(&self, role: &Role) -> bool {
        match self.cluster().spec.etcd.mode {
            EtcdMode::Stacked => *role == Role::ControlPlane,
            EtcdMode::External => *role == Role::Etcd,
        }
    }

    /// Whether machines of this role balance the API servers.
    pub fn has_balancer(&self, role: &Role) -> bool {
        match &self.cluster().spec.load_balancer {
            Some(balancer) if balancer.replicas == 0 => *role == Role::ControlPlane,
            Some(_) => *role == Role::LoadBalancer,
            None => false,
        }
    }

    /// Machines that exist already have names: those of a role in the order in which they are written down.
    fn name_existing(&self, machines: &mut [Machine]) {
        let Some(hosts) = &self.cluster().spec.infrastructure.hosts else { return };
        let mut left: Vec<_> = hosts.machines.iter().collect();
        for machine in machines {
            // Validation has counted them.
            if let Some(place) = left.iter().position(|host| host.role == machine.role.slug()) {
                machine.name.clone_from(&left.remove(place).name);
            }
        }
    }

    /// Whether workloads run on the control plane: as asked, else only if there are no workers.
    pub fn control_plane_schedulable(&self) -> bool {
        let spec = &self.cluster().spec;
        spec.control_plane.schedulable.unwrap_or_else(|| spec.workers.iter().all(|pool| pool.replicas == 0))
    }

    /// How many DNS pods run.
    pub fn dns_replicas(&self) -> u16 {
        let nodes = self.machines().iter().filter(|machine| machine.role.is_node()).count();
        self.cluster().spec.addons.dns.replicas.unwrap_or(if nodes > 1 { 2 } else { 1 })
    }

    fn extend(&self, machines: &mut Vec<Machine>, role: &Role, replicas: u16, size: MachineSize) {
        let memory = if role.is_node() { defaults::MEMORY } else { defaults::SMALL_MEMORY };
        machines.extend((1..=replicas).map(|number| Machine {
            name: format!("{}-{}-{number}", self.name(), role.slug()),
            role: role.clone(),
            cpus: size.cpus.unwrap_or(defaults::CPUS),
            memory: size.memory.unwrap_or(memory),
            disk: size.disk.unwrap_or(defaults::DISK),
            labels: BTreeMap::new(),
            taints: Vec::new(),
        }));
    }
}

/// The taint that keeps workloads off a control plane, as kubeadm sets it.
fn control_plane_taint() -> Taint {
    Taint {
        key: "node-role.kubernetes.io/control-plane".to_owned(),
        value: String::new(),
        effect: crate::spec::TaintEffect::NoSchedule,
    }
}
