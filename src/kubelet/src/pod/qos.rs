//! Quality of service: which class a pod is in, and whom the kernel ends first when memory is short.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{amount, identity};

/// The classes, most protected first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// Every container asks for exactly what it may use.
    Guaranteed,
    /// Something is asked for.
    Burstable,
    /// Nothing is asked for.
    BestEffort,
}

impl Qos {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }

    /// The class of a pod; the API server's word wins if it spoke.
    pub fn of(pod: &Pod) -> Self {
        match pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
            Some("Guaranteed") => Self::Guaranteed,
            Some("Burstable") => Self::Burstable,
            Some("BestEffort") => Self::BestEffort,
            _ => Self::compute(pod),
        }
    }

    fn compute(pod: &Pod) -> Self {
        let all: Vec<&Container> = identity::init_containers(pod).iter().chain(identity::containers(pod)).collect();
        let nothing = all.iter().all(|container| {
            ["cpu", "memory"].iter().all(|name| request(container, name).is_none() && limit(container, name).is_none())
        });
        if nothing {
            return Self::BestEffort;
        }
        let exact = all.iter().all(|container| {
            ["cpu", "memory"].iter().all(|name| {
                let limit = limit(container, name).and_then(amount::millis);
                limit.is_some() && request(container, name).and_then(amount::millis) == limit
            })
        });
        if exact { Self::Guaranteed } else { Self::Burstable }
    }
}

fn positive(quantity: &Quantity) -> bool {
    amount::millis(quantity).is_some_and(|millis| millis > 0)
}

/// What a container may use of a resource.
pub fn limit<'a>(container: &'a Container, name: &str) -> Option<&'a Quantity> {
    container.resources.as_ref()?.limits.as_ref()?.get(name).filter(|quantity| positive(quantity))
}

/// What a container asks for; a limit alone asks for as much.
pub fn request<'a>(container: &'a Container, name: &str) -> Option<&'a Quantity> {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    requests
        .and_then(|requests| requests.get(name))
        .or_else(|| limit(container, name))
        .filter(|quantity| positive(quantity))
}

/// The kernel's badness adjustment for a container on a node with `capacity` bytes of memory.
pub fn oom_score(pod: &Pod, container: &Container, capacity: i64) -> i64 {
    let critical = pod.spec.as_ref().is_some_and(|spec| {
        spec.priority.is_some_and(|priority| priority >= 2_000_000_000)
            || spec.priority_class_name.as_deref() == Some("system-node-critical")
    });
    if critical {
        return -997;
    }
    match Qos::of(pod) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let asked = request(container, "memory").and_then(amount::units).unwrap_or(0);
            let score = 1000 - 1000_i64.saturating_mul(asked) / capacity.max(1);
            score.clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::sandbox::tests::pod;

    #[expect(clippy::needless_pass_by_value, reason = "tests write the resources in place")]
    fn class(resources: serde_json::Value) -> &'static str {
        Qos::of(&pod(serde_json::json!({"containers": [{"name": "c", "resources": resources}]}))).as_str()
    }

    #[test]
    fn the_class_follows_requests_and_limits() {
        use serde_json::json;
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
        assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})), "Burstable");
    }

    #[test]
    fn who_asks_for_more_memory_is_ended_later() {
        let pod = pod(serde_json::json!({"containers": [{"name": "c", "resources": {"requests": {"memory": "4Gi"}}}]}));
        assert_eq!(oom_score(&pod, &identity::containers(&pod)[0], 16 << 30), 750);
    }
}
