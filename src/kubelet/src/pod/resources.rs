//! Requests and limits as the kernel's numbers.

use cri::api::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::qos::{self, Qos};
use super::{amount, identity};

const PERIOD: i64 = 100_000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
/// The kernel refuses less than one millisecond.
const MIN_QUOTA: i64 = 1000;

/// CPU weight of an amount of CPU.
pub fn shares(milli_cpu: i64) -> i64 {
    (milli_cpu.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// Microseconds of CPU per period.
pub fn quota(milli_cpu: i64) -> i64 {
    if milli_cpu == 0 { 0 } else { (milli_cpu.saturating_mul(PERIOD) / 1000).max(MIN_QUOTA) }
}

/// The weight of a cgroup v2 that stands for these shares (2 to 262144).
///
/// The least, the usual (1024 and 100) and the most of both scales meet, as the runtimes map them since runc 1.3: with a straight line
/// one core of pods would weigh 39 beside the 100 of each service of the system, and a busy service would starve the control plane.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "from 2 to 262144, and from 1 to 10000"
)]
pub fn weight(shares: i64) -> i64 {
    let doublings = (shares.clamp(MIN_SHARES, MAX_SHARES) as f64).log2();
    let decades = (doublings * doublings + 125.0 * doublings) / 612.0 - 7.0 / 34.0;
    // Rounding must not lift what is exact but for the last bit.
    (10_f64.powf(decades) - 1e-9).ceil() as i64
}

/// The limits of one container.
pub fn of_container(pod: &Pod, container: &Container, memory_capacity: i64) -> LinuxContainerResources {
    let cpu_request = qos::request(container, "cpu").and_then(amount::millis).unwrap_or(0);
    let cpu_limit = qos::limit(container, "cpu").and_then(amount::millis).unwrap_or(0);
    LinuxContainerResources {
        cpu_shares: shares(cpu_request),
        cpu_quota: quota(cpu_limit),
        cpu_period: PERIOD,
        memory_limit_in_bytes: qos::limit(container, "memory").and_then(amount::units).unwrap_or(0),
        oom_score_adj: qos::oom_score(pod, container, memory_capacity),
        ..Default::default()
    }
}

/// What a pod asks for, and the most it may use (nothing if a container is unlimited).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Thousandths of a CPU.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Thousandths of a CPU, if bounded.
    pub cpu_limit: Option<i64>,
    /// Bytes, if bounded.
    pub memory_limit: Option<i64>,
}

type Amount<'a> = &'a dyn Fn(&Container) -> Option<i64>;

/// The need of the whole pod: its containers and sidecars together, or its greediest moment of initialisation.
pub fn of_pod(pod: &Pod) -> Needs {
    let cpu = |container: &Container| qos::request(container, "cpu").and_then(amount::millis).or(Some(0));
    let memory = |container: &Container| qos::request(container, "memory").and_then(amount::units).or(Some(0));
    let cpu_limit = |container: &Container| qos::limit(container, "cpu").and_then(amount::millis);
    let memory_limit = |container: &Container| qos::limit(container, "memory").and_then(amount::units);
    Needs {
        cpu: together(pod, &cpu).unwrap_or(0) + overhead(pod, "cpu", amount::millis),
        memory: together(pod, &memory).unwrap_or(0) + overhead(pod, "memory", amount::units),
        cpu_limit: together(pod, &cpu_limit),
        memory_limit: together(pod, &memory_limit),
    }
}

fn together(pod: &Pod, amount: Amount<'_>) -> Option<i64> {
    let mut sidecars = 0_i64;
    let mut peak = 0_i64;
    for container in identity::init_containers(pod) {
        let own = amount(container)?;
        if identity::is_sidecar(container) {
            sidecars += own;
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + own);
        }
    }
    let running: Option<i64> = identity::containers(pod).iter().map(amount).sum();
    Some((running? + sidecars).max(peak))
}

type Read = fn(&k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> Option<i64>;

fn overhead(pod: &Pod, name: &str, read: Read) -> i64 {
    let overhead = pod.spec.as_ref().and_then(|spec| spec.overhead.as_ref());
    overhead.and_then(|overhead| overhead.get(name)).and_then(read).unwrap_or(0)
}

/// The cgroup settings of the whole pod.
pub fn of_pod_cgroup(pod: &Pod) -> LinuxContainerResources {
    let needs = of_pod(pod);
    let best_effort = Qos::of(pod) == Qos::BestEffort;
    LinuxContainerResources {
        cpu_shares: if best_effort { MIN_SHARES } else { shares(needs.cpu) },
        cpu_quota: needs.cpu_limit.map_or(0, quota),
        cpu_period: PERIOD,
        memory_limit_in_bytes: needs.memory_limit.unwrap_or(0),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::sandbox::tests::pod;

    #[test]
    fn cpu_becomes_shares_and_quota() {
        let pod = pod(
            json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "250m"}, "limits": {"cpu": "1500m", "memory": "64Mi"}}}]}),
        );
        let resources = of_container(&pod, &identity::containers(&pod)[0], 1 << 30);
        assert_eq!(
            (resources.cpu_shares, resources.cpu_quota, resources.memory_limit_in_bytes),
            (256, 150_000, 64 << 20)
        );
        assert_eq!((shares(0), quota(0), quota(5)), (2, 0, 1000));
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 100, 10_000));
    }

    #[test]
    fn initialisation_and_sidecars_count_as_upstream_counts_them() {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        let pod = pod(json!({
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "resources": cpu("100m")},
                {"name": "big", "resources": cpu("2")},
            ],
            "containers": [{"name": "a", "resources": cpu("500m")}, {"name": "b", "resources": cpu("500m")}],
        }));
        assert_eq!(of_pod(&pod).cpu, 2100);
    }
}
