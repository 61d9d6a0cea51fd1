//! `LimitRanger`: containers get the default requests and limits of their namespace, and keep within its bounds.

use std::cmp::Ordering;

use apimachinery::quantity::Quantity;
use apimachinery::{Object, Status, Value};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    name: "LimitRanger",
    by_default: true,
    handles: |attributes| attributes.is_new_pod(),
    mutate: Some(mutate),
    validate: Some(validate),
};

fn mutate<'a>(attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let ranges = attributes.app.registry.list("", "limitranges", &attributes.info.namespace);
    if let Some(pod) = attributes.object.as_deref_mut() {
        for range in ranges {
            for limit in container_limits(&range.object()) {
                fill(pod, limit);
            }
        }
    }
    futures::future::ready(Ok(())).boxed()
}

fn validate<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let ranges = attributes.app.registry.list("", "limitranges", &attributes.info.namespace);
    let mut wrong = Vec::new();
    if let Some(pod) = attributes.object.as_deref() {
        for range in ranges {
            for limit in container_limits(&range.object()) {
                check(pod, limit, &mut wrong);
            }
        }
    }
    let outcome = if wrong.is_empty() {
        Ok(())
    } else if let [one] = wrong.as_slice() {
        Err(attributes.forbidden(one))
    } else {
        Err(attributes.forbidden(format_args!("[{}]", wrong.join(", "))))
    };
    futures::future::ready(outcome).boxed()
}

fn container_limits(range: &Object) -> impl Iterator<Item = &Value> {
    range.list_at(&["spec", "limits"]).iter().filter(|limit| limit.str("type") == "Container")
}

/// Puts the defaults where a container says nothing.
fn fill(pod: &mut Object, limit: &Value) {
    for list in ["containers", "initContainers"] {
        let Some(containers) = pod.at_mut(&["spec", list]).and_then(Value::as_list_mut) else { continue };
        for container in containers {
            fill_container(container, limit);
        }
    }
}

fn fill_container(container: &mut Value, limit: &Value) {
    for (field, defaults) in [("limits", "default"), ("requests", "defaultRequest")] {
        let Some(defaults) = limit.get(defaults).and_then(Value::as_map) else { continue };
        for (name, amount) in defaults.iter() {
            let path = ["resources", field, name.as_str()];
            // A limit without a request is the request; a default must not make it less.
            let limited = container.at(&["resources", "limits", name.as_str()]).is_some();
            let asked = field == "requests" && limited;
            if container.at(&path).is_none() && !asked {
                container.set_at(&path, amount.clone());
            }
        }
    }
}

/// A bound of a limit: its name, what it bounds, what breaks it, and the word for it.
const BOUNDS: [(&str, &str, Ordering, &str); 2] =
    [("max", "limits", Ordering::Greater, "maximum"), ("min", "requests", Ordering::Less, "minimum")];

fn check(pod: &Object, limit: &Value, wrong: &mut Vec<String>) {
    let lists = ["containers", "initContainers"];
    for container in lists.iter().flat_map(|list| pod.list_at(&["spec", list])) {
        for (bound, field, order, word) in BOUNDS {
            let Some(bounds) = limit.get(bound).and_then(Value::as_map) else { continue };
            for (name, amount) in bounds.strings() {
                let given = container.at(&["resources", field, name]).and_then(Value::as_str);
                let verb = field.trim_end_matches('s');
                let told = format!("{word} {name} usage per Container is {amount}");
                match given.map(|given| (given, compare(given, amount))) {
                    None => wrong.push(format!("{told}.  No {verb} is specified")),
                    Some((given, Some(seen))) if seen == order => wrong.push(format!("{told}, but {verb} is {given}")),
                    Some(_) => {}
                }
            }
        }
    }
}

fn compare(given: &str, bound: &str) -> Option<Ordering> {
    let (given, bound): (Quantity, Quantity) = (given.parse().ok()?, bound.parse().ok()?);
    given.partial_cmp(&bound)
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    fn limit() -> Value {
        value!({
            "type": "Container", "default": {"memory": "1Gi"}, "defaultRequest": {"cpu": "100m"},
            "max": {"memory": "2Gi"},
        })
    }

    fn pod(resources: Value) -> Object {
        Object::try_from(value!({"spec": {"containers": [{"name": "c", "resources": (resources)}]}})).unwrap()
    }

    #[test]
    fn defaults_fill_gaps_only() {
        let mut silent = pod(value!({}));
        fill(&mut silent, &limit());
        let resources = ["spec", "containers", "0", "resources"];
        let expected = value!({"limits": {"memory": "1Gi"}, "requests": {"cpu": "100m"}});
        assert_eq!(silent.at(&resources), Some(&expected));
        let own = value!({"limits": {"memory": "1Mi", "cpu": "1"}});
        let mut spoken = pod(own.clone());
        fill(&mut spoken, &limit());
        assert_eq!(spoken.at(&resources), Some(&own));
    }

    #[test]
    fn bounds_are_compared_as_quantities() {
        for (memory, count) in [("2048Mi", 0), ("3Gi", 1)] {
            let mut wrong = Vec::new();
            check(&pod(value!({"limits": {"memory": memory}})), &limit(), &mut wrong);
            assert_eq!(wrong.len(), count, "{memory}: {wrong:?}");
        }
    }
}
