//! `DefaultTolerationSeconds`: pods stay five minutes on a node that does not answer, unless they say otherwise.

use apimachinery::{Object, Status, Value, value};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Plugin};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

pub(super) const PLUGIN: Plugin = Plugin {
    name: "DefaultTolerationSeconds",
    by_default: true,
    handles: |attributes| attributes.is_new_pod(),
    mutate: Some(mutate),
    validate: None,
};

fn mutate<'a>(attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let limits = &attributes.app.config.limits;
    let seconds = [
        (NOT_READY, limits.default_not_ready_toleration_seconds),
        (UNREACHABLE, limits.default_unreachable_toleration_seconds),
    ];
    if let Some(pod) = attributes.object.as_deref_mut() {
        for (taint, seconds) in seconds {
            tolerate(pod, taint, seconds);
        }
    }
    futures::future::ready(Ok(())).boxed()
}

fn tolerate(pod: &mut Object, taint: &str, seconds: i64) {
    let tolerations = pod.list_at(&["spec", "tolerations"]);
    let tolerated = tolerations.iter().any(|toleration| {
        (toleration.str("key").is_empty() || toleration.str("key") == taint)
            && matches!(toleration.str("effect"), "" | "NoExecute")
    });
    if tolerated {
        return;
    }
    let mut tolerations = tolerations.to_vec();
    tolerations.push(value!({
        "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds,
    }));
    pod.set_at(&["spec", "tolerations"], Value::List(tolerations));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tolerations: Value, expected: usize) {
        let mut pod = Object::try_from(value!({"spec": {"tolerations": (tolerations)}})).unwrap();
        tolerate(&mut pod, NOT_READY, 300);
        assert_eq!(pod.list_at(&["spec", "tolerations"]).len(), expected);
    }

    #[test]
    fn what_the_pod_says_counts() {
        check(value!([]), 1);
        check(value!([{"operator": "Exists"}]), 1);
        check(value!([{"key": NOT_READY, "effect": "NoExecute", "tolerationSeconds": 5}]), 1);
        check(value!([{"key": NOT_READY, "effect": "NoSchedule"}]), 2);
    }
}
