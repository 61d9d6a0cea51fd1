//! Who goes first when a resource is short: who uses more than it asked for, then who matters less, then who uses most
//! beyond what it asked for. Pure.

use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::threshold::{Met, Signal};
use crate::pod::qos::{self, Qos};
use crate::pod::{amount, identity, resources};

/// A pod that could be evicted, and what it uses of the short resource.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) pod: Arc<Pod>,
    /// By container; what belongs to none of them is under the empty name.
    pub(super) uses: Vec<(String, i64)>,
}

impl Candidate {
    fn used(&self) -> i64 {
        self.uses.iter().map(|(_, used)| used).sum()
    }
}

/// The first to go comes first.
pub(super) fn rank(signal: Signal, candidates: &mut [Candidate]) {
    candidates.sort_by_cached_key(|candidate| {
        let asked = asked(signal, &candidate.pod);
        let used = candidate.used();
        let exceeds = asked.is_some_and(|asked| used > asked);
        let priority = candidate.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        (Reverse(exceeds), priority, Reverse(used.saturating_sub(asked.unwrap_or(0))))
    });
}

/// What a pod asked for; none for what nobody can ask for.
fn asked(signal: Signal, pod: &Pod) -> Option<i64> {
    match signal {
        Signal::Memory => Some(resources::of_pod(pod).memory),
        Signal::NodeDisk | Signal::ImageDisk => {
            let own = |container: &Container| of_container(signal, container);
            Some(identity::containers(pod).iter().map(own).sum())
        }
        Signal::NodeInodes | Signal::ImageInodes | Signal::Pids => None,
    }
}

fn of_container(signal: Signal, container: &Container) -> i64 {
    qos::request(container, signal.resource()).and_then(amount::units).unwrap_or(0)
}

/// What the user of an evicted pod is told, in upstream's words.
pub(super) fn message(met: &Met, victim: &Candidate) -> String {
    let signal = met.threshold.signal;
    let threshold = written(signal, met.threshold.least.of(met.whole));
    let mut text = format!(
        "The node was low on resource: {}. Threshold quantity: {threshold}, available: {}. ",
        signal.resource(),
        written(signal, met.free)
    );
    if asked(signal, &victim.pod).is_none() {
        return text;
    }
    let larger = identity::containers(&victim.pod).iter().filter_map(|container| {
        let (_, used) = victim.uses.iter().find(|(name, _)| *name == container.name)?;
        let asked = of_container(signal, container);
        (*used > asked).then(|| {
            format!(
                "Container {} was using {}, request is {}, has larger consumption of {}. ",
                container.name,
                written(signal, *used),
                written(signal, asked),
                signal.resource()
            )
        })
    });
    text.extend(larger);
    text
}

/// Bytes in whole kibibytes, as upstream writes them.
fn written(signal: Signal, amount: i64) -> String {
    match signal {
        Signal::Memory | Signal::NodeDisk | Signal::ImageDisk if amount > 0 => format!("{}Ki", amount / 1024),
        _ => amount.to_string(),
    }
}

/// Whether a pod may be evicted at all: static pods and those the node cannot do without stay.
pub(super) fn may_go(pod: &Pod) -> bool {
    !identity::is_static(pod) && !is_critical(pod)
}

fn is_critical(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.priority).is_some_and(|priority| priority >= 2_000_000_000)
}

/// Whether a new pod may come while memory is short: one that asked for some, or that bears it.
pub(super) fn bears_memory_pressure(pod: &Pod) -> bool {
    let tolerates = |toleration: &k8s_openapi::api::core::v1::Toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let effect = toleration.effect.as_deref().unwrap_or_default();
        ["", "node.kubernetes.io/memory-pressure"].contains(&key)
            && toleration.operator.as_deref() == Some("Exists")
            && ["", "NoSchedule"].contains(&effect)
    };
    Qos::of(pod) != Qos::BestEffort || pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten()).any(tolerates)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::eviction::threshold::{Amount, Threshold};
    use crate::pod::sandbox::tests::pod;

    fn candidate(name: &str, asked: &str, priority: i32, used: i64) -> Candidate {
        let mut pod = pod(json!({
            "priority": priority,
            "containers": [{"name": "c", "resources": {"requests": {"memory": asked}}}],
        }));
        pod.metadata.name = Some(name.to_owned());
        Candidate { pod: Arc::new(pod), uses: vec![("c".to_owned(), used)] }
    }

    #[test]
    fn who_exceeds_goes_first_then_who_matters_less_then_who_exceeds_most() {
        let mut candidates = [
            candidate("modest", "1Gi", 0, 1 << 20),
            candidate("important", "0", 1000, 1 << 30),
            candidate("small", "0", 0, 1 << 10),
            candidate("large", "0", 0, 1 << 20),
        ];
        rank(Signal::Memory, &mut candidates);
        let order: Vec<&str> = candidates.iter().map(|candidate| identity::name(&candidate.pod)).collect();
        assert_eq!(order, ["large", "small", "important", "modest"]);
        rank(Signal::Pids, &mut candidates);
        assert_eq!(identity::name(&candidates[3].pod), "important", "nobody asks for processes");
    }

    #[test]
    fn users_are_told_what_was_short_and_who_took_it() {
        let threshold = Threshold {
            signal: Signal::Memory,
            least: Amount::Fixed(100 << 20),
            grace: Some(Duration::ZERO),
            reclaim: Amount::Fixed(0),
        };
        let met = Met { threshold, free: 90 << 20, whole: 1 << 30 };
        assert_eq!(
            message(&met, &candidate("p", "1Mi", 0, 2 << 20)),
            "The node was low on resource: memory. Threshold quantity: 102400Ki, available: 92160Ki. \
             Container c was using 2048Ki, request is 1024Ki, has larger consumption of memory. "
        );
    }

    #[test]
    fn static_and_critical_pods_stay_and_best_effort_does_not_come_while_memory_is_short() {
        assert!(may_go(&candidate("p", "0", 0, 0).pod));
        assert!(!may_go(&candidate("p", "0", 2_000_001_000, 0).pod));
        assert!(bears_memory_pressure(&candidate("p", "1Mi", 0, 0).pod));
        let idle = |tolerations| pod(json!({"containers": [{"name": "c"}], "tolerations": tolerations}));
        assert!(!bears_memory_pressure(&idle(json!([]))));
        assert!(bears_memory_pressure(&idle(json!([{"operator": "Exists"}]))));
    }
}
