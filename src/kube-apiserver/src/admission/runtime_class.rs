//! `RuntimeClass`: a pod pays for the overhead of its runtime and runs where that runtime is.

use apimachinery::{Object, Status, Value};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    name: "RuntimeClass",
    by_default: true,
    handles: |attributes| attributes.is_new_pod(),
    mutate: Some(mutate),
    validate: Some(validate),
};

async fn class_of(attributes: &Attributes<'_>) -> Result<Option<Object>, Status> {
    let name = attributes.object.as_deref().map_or("", |pod| pod.str_at(&["spec", "runtimeClassName"]));
    if name.is_empty() {
        return Ok(None);
    }
    let found = attributes.app.registry.get_fresh("node.k8s.io", "runtimeclasses", "", name).await;
    let class = found.map(|class| class.object());
    class.map(Some).ok_or_else(|| attributes.forbidden(format_args!("pod rejected: RuntimeClass {name:?} not found")))
}

fn mutate<'a>(attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        let Some(class) = class_of(attributes).await? else { return Ok(()) };
        let outcome = attributes.object.as_deref_mut().map_or(Ok(()), |pod| fill(pod, &class));
        outcome.map_err(|why| attributes.forbidden(why))
    }
    .boxed()
}

fn validate<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        let class = class_of(attributes).await?;
        let own =
            attributes.object.as_deref().and_then(|pod| pod.at(&["spec", "overhead"])).filter(|one| !one.is_empty());
        match (class.as_ref().and_then(overhead), own) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(attributes
                .forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")),
            (Some(fixed), own) if own == Some(fixed) => Ok(()),
            (Some(_), _) => Err(attributes.forbidden(MISMATCH)),
        }
    }
    .boxed()
}

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

fn overhead(class: &Object) -> Option<&Value> {
    class.at(&["overhead", "podFixed"]).filter(|fixed| !fixed.is_empty())
}

fn fill(pod: &mut Object, class: &Object) -> Result<(), String> {
    if let Some(fixed) = overhead(class) {
        if pod.at(&["spec", "overhead"]).is_some_and(|own| !own.is_empty() && own != fixed) {
            return Err(MISMATCH.to_owned());
        }
        pod.set_at(&["spec", "overhead"], fixed.clone());
    }
    for (key, value) in class.map_at(&["scheduling", "nodeSelector"]).strings() {
        let own = pod.str_at(&["spec", "nodeSelector", key]);
        if !own.is_empty() && own != value {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
            ));
        }
        pod.set_at(&["spec", "nodeSelector", key], value);
    }
    let mut tolerations = pod.list_at(&["spec", "tolerations"]).to_vec();
    let missing = class.list_at(&["scheduling", "tolerations"]).iter().filter(|one| !tolerations.contains(one));
    let missing: Vec<Value> = missing.cloned().collect();
    if !missing.is_empty() {
        tolerations.extend(missing);
        pod.set_at(&["spec", "tolerations"], Value::List(tolerations));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    fn object(tree: Value) -> Object {
        Object::try_from(tree).unwrap()
    }

    fn class() -> Object {
        object(value!({
            "overhead": {"podFixed": {"cpu": "100m"}},
            "scheduling": {"nodeSelector": {"sandbox": "yes"}, "tolerations": [{"key": "sandbox", "operator": "Exists"}]},
        }))
    }

    #[test]
    fn a_class_adds_overhead_selector_and_tolerations() {
        let mut pod = object(value!({"spec": {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "own"}]}}));
        fill(&mut pod, &class()).unwrap();
        assert_eq!(
            pod.get("spec").unwrap(),
            &value!({
                "nodeSelector": {"disk": "ssd", "sandbox": "yes"},
                "tolerations": [{"key": "own"}, {"key": "sandbox", "operator": "Exists"}],
                "overhead": {"cpu": "100m"},
            })
        );
        let once = pod.clone();
        fill(&mut pod, &class()).unwrap();
        assert_eq!(pod, once);
    }

    #[test]
    fn what_contradicts_the_class_is_refused() {
        let check = |spec: Value, expected: &str| {
            let why = fill(&mut object(value!({"spec": (spec)})), &class()).unwrap_err();
            assert!(why.starts_with(expected), "{why}");
        };
        check(value!({"overhead": {"cpu": "1"}}), "pod rejected: Pod's Overhead");
        check(
            value!({"nodeSelector": {"sandbox": "no"}}),
            "conflict: runtimeClass.scheduling.nodeSelector[sandbox] = yes",
        );
    }
}
