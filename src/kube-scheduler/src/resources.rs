//! Amounts of what nodes have and pods ask for.

use std::collections::BTreeMap;

use apimachinery::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

/// What a container without request counts as when nodes are compared: a tenth of a processor.
const DEFAULT_MILLI_CPU: i64 = 100;
/// And 200 MiB.
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a processor.
    pub milli_cpu: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of local storage.
    pub ephemeral_storage: i64,
    /// Number of pods; only for nodes.
    pub pods: i64,
    /// Everything else by name.
    pub scalars: BTreeMap<String, i64>,
}

impl Resources {
    /// Reads a list of quantities; those that are none count as nothing.
    pub fn read(list: Option<&BTreeMap<String, Text>>) -> Self {
        let mut all = Self::default();
        for (name, text) in list.into_iter().flatten() {
            let Ok(quantity) = text.0.parse::<Quantity>() else { continue };
            match name.as_str() {
                "cpu" => all.milli_cpu = quantity.milli_value(),
                "memory" => all.memory = quantity.value(),
                "ephemeral-storage" => all.ephemeral_storage = quantity.value(),
                "pods" => all.pods = quantity.value(),
                _ => drop(all.scalars.insert(name.clone(), quantity.value())),
            }
        }
        all
    }

    /// Adds other amounts.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes other amounts away.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    /// Keeps the larger of each.
    pub fn at_least(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, with: fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            let own = self.scalars.entry(name.clone()).or_default();
            *own = with(*own, *amount);
        }
    }
}

/// What a pod asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    /// As written.
    pub exact: Resources,
    /// With defaults where nothing is written, for comparing nodes.
    pub assumed: Resources,
}

/// Adds up a pod: containers run together, init containers one after another beside the sidecars
/// started before them; what the pod asks for as a whole counts instead of its parts.
pub fn of_pod(spec: &PodSpec) -> Requests {
    let (exact, assumed) = (total(spec, plain), total(spec, with_defaults));
    Requests { exact, assumed }
}

fn total(spec: &PodSpec, of: fn(&Container) -> Resources) -> Resources {
    let mut running = Resources::default();
    spec.containers.iter().for_each(|c| running.add(&of(c)));
    let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let own = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            running.add(&own);
            sidecars.add(&own);
            peak.at_least(&sidecars);
        } else {
            let mut now = sidecars.clone();
            now.add(&own);
            peak.at_least(&now);
        }
    }
    running.at_least(&peak);
    if let Some(requests) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
        let whole = Resources::read(Some(requests));
        if requests.contains_key("cpu") {
            running.milli_cpu = whole.milli_cpu;
        }
        if requests.contains_key("memory") {
            running.memory = whole.memory;
        }
    }
    running.add(&Resources::read(spec.overhead.as_ref()));
    running
}

fn plain(container: &Container) -> Resources {
    Resources::read(container.resources.as_ref().and_then(|r| r.requests.as_ref()))
}

fn with_defaults(container: &Container) -> Resources {
    let mut own = plain(container);
    let written = |name: &str| {
        let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
        requests.is_some_and(|r| r.contains_key(name))
    };
    if !written("cpu") {
        own.milli_cpu = DEFAULT_MILLI_CPU;
    }
    if !written("memory") {
        own.memory = DEFAULT_MEMORY;
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(json: serde_json::Value) -> Resources {
        of_pod(&serde_json::from_value(json).unwrap()).exact
    }

    fn container(cpu: &str) -> serde_json::Value {
        serde_json::json!({"name": "c", "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn an_init_container_counts_beside_the_sidecars_before_it() {
        let mut sidecar = container("100m");
        sidecar["restartPolicy"] = "Always".into();
        let pod = serde_json::json!({"containers": [container("200m")], "initContainers": [sidecar, container("500m")],
            "overhead": {"cpu": "10m"}});
        assert_eq!(requests(pod).milli_cpu, 610);
    }

    #[test]
    fn a_pod_level_request_counts_instead_of_its_parts() {
        let pod = serde_json::json!({"containers": [container("200m")], "resources": {"requests": {"cpu": "1"}}});
        assert_eq!(requests(pod).milli_cpu, 1000);
    }

    #[test]
    fn what_is_not_written_counts_only_when_nodes_are_compared() {
        let pod = of_pod(&serde_json::from_value(serde_json::json!({"containers": [{"name": "c"}]})).unwrap());
        assert_eq!((pod.exact.memory, pod.assumed.memory), (0, DEFAULT_MEMORY));
    }
}
