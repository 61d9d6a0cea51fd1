//! `LimitRanger`: containers get the default requests and limits of their namespace; pods, containers and claims
//! keep within its bounds.

mod bounds;

use std::collections::BTreeSet;

use apimachinery::value::Map;
use apimachinery::{Object, Status, Value};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};
use bounds::{Bounded, check};

/// Says on the pod what was filled in.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub(super) const PLUGIN: Plugin = Plugin {
    name: "LimitRanger",
    by_default: true,
    handles: |attributes| {
        let resized = attributes.operation == Operation::Update && attributes.info.subresource == "resize";
        let claim = attributes.operation != Operation::Delete && attributes.info.subresource.is_empty();
        attributes.is_new_pod()
            || (attributes.is("", "pods") && resized)
            || (attributes.is("", "persistentvolumeclaims") && claim)
    },
    mutate: Some(mutate),
    validate: Some(validate),
};

async fn ranges(attributes: &Attributes<'_>) -> Result<Vec<Object>, Status> {
    attributes.app.registry.list_settled("", "limitranges", &attributes.info.namespace).await
}

fn mutate<'a>(attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        if attributes.is("", "pods") {
            let ranges = ranges(attributes).await?;
            if let Some(pod) = attributes.object.as_deref_mut() {
                for range in &ranges {
                    fill(pod, range);
                }
            }
        }
        Ok(())
    }
    .boxed()
}

fn validate<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move { check_all(attributes, &ranges(attributes).await?) }.boxed()
}

fn check_all(attributes: &Attributes<'_>, ranges: &[Object]) -> Result<(), Status> {
    let mut wrong = Vec::new();
    // What is on its way out is held to nothing any more.
    if let Some(object) = attributes.object.as_deref().filter(|object| object.deletion_timestamp().is_none()) {
        let of = if attributes.is("", "pods") { Bounded::Pod(object) } else { Bounded::Claim(object) };
        for range in ranges {
            range.list_at(&["spec", "limits"]).iter().for_each(|limit| check(&of, limit, &mut wrong));
        }
    }
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => Err(attributes.forbidden(one)),
        many => Err(attributes.forbidden(format_args!("[{}]", many.join(", ")))),
    }
}

/// Puts the defaults where a container says nothing, and notes where that was.
fn fill(pod: &mut Object, range: &Object) {
    let limits: Vec<&Value> =
        range.list_at(&["spec", "limits"]).iter().filter(|limit| limit.str("type") == "Container").collect();
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod.at_mut(&["spec", list]).and_then(Value::as_list_mut).into_iter().flatten() {
            for (field, defaults, word) in [("limits", "default", "limit"), ("requests", "defaultRequest", "request")] {
                let filled = fill_container(container, field, limits.iter().filter_map(|limit| limit.get(defaults)));
                if !filled.is_empty() {
                    let filled = filled.into_iter().collect::<Vec<_>>().join(", ");
                    notes.push(format!("{filled} {word} for {what} {}", container.str("name")));
                }
            }
        }
    }
    if !notes.is_empty() {
        pod.set_annotation(ANNOTATION, &format!("LimitRanger plugin set: {}", notes.join("; ")));
    }
}

fn fill_container<'a>(
    container: &mut Value,
    field: &str,
    defaults: impl Iterator<Item = &'a Value>,
) -> BTreeSet<String> {
    let mut filled = BTreeSet::new();
    for (name, amount) in defaults.filter_map(Value::as_map).flat_map(Map::iter) {
        let path = ["resources", field, name.as_str()];
        if container.at(&path).is_none() {
            container.set_at(&path, amount.clone());
            filled.insert(name.as_str().to_owned());
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    #[test]
    fn defaults_fill_gaps_only_and_leave_a_note() {
        let range = value!({"spec": {"limits": [
            {"type": "Container", "default": {"memory": "1Gi", "cpu": "2"}, "defaultRequest": {"cpu": "100m"}},
        ]}});
        let range = Object::try_from(range).unwrap();
        let mut pod = Object::try_from(value!({"spec": {"containers": [
            {"name": "a"},
            {"name": "b", "resources": {"limits": {"cpu": "1", "memory": "1Mi"}, "requests": {"cpu": "1"}}},
        ]}}))
        .unwrap();
        let own = pod.at(&["spec", "containers", "1"]).cloned();
        fill(&mut pod, &range);
        let expected = value!({"limits": {"memory": "1Gi", "cpu": "2"}, "requests": {"cpu": "100m"}});
        assert_eq!(pod.at(&["spec", "containers", "0", "resources"]), Some(&expected));
        assert_eq!(pod.at(&["spec", "containers", "1"]), own.as_ref());
        assert_eq!(
            pod.annotation(ANNOTATION),
            Some("LimitRanger plugin set: cpu, memory limit for container a; cpu request for container a")
        );
    }
}
