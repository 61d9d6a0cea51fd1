//! `DefaultIngressClass`: an ingress that names no class gets the default one.

use apimachinery::{Object, Status};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin, newest};

const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
/// How classes were named before they had a field.
const OLD_NAME: &str = "kubernetes.io/ingress.class";

pub(super) const PLUGIN: Plugin = Plugin {
    name: "DefaultIngressClass",
    by_default: true,
    handles: |attributes| {
        attributes.operation == Operation::Create
            && attributes.is("networking.k8s.io", "ingresses")
            && attributes.info.subresource.is_empty()
    },
    mutate: Some(mutate),
    validate: None,
};

fn mutate<'a>(attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let classes = attributes.app.registry.list("networking.k8s.io", "ingressclasses", "");
    if let Some(ingress) = attributes.object.as_deref_mut() {
        fill(ingress, classes.iter().map(|class| class.object()));
    }
    futures::future::ready(Ok(())).boxed()
}

fn fill(ingress: &mut Object, classes: impl Iterator<Item = Object>) {
    if ingress.at(&["spec", "ingressClassName"]).is_some() || ingress.annotation(OLD_NAME).is_some() {
        return;
    }
    if let Some(default) = newest(classes.filter(|class| class.annotation(IS_DEFAULT) == Some("true"))) {
        ingress.set_at(&["spec", "ingressClassName"], default.name());
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::{Value, value};

    use super::*;

    #[test]
    fn the_newest_default_is_taken_where_nothing_is_said() {
        let object = |tree: Value| Object::try_from(tree).unwrap();
        let class = |name: &str, default: &str, created: &str| {
            object(
                value!({"metadata": {"name": name, "creationTimestamp": created, "annotations": {IS_DEFAULT: default}}}),
            )
        };
        let classes = || {
            [
                class("old", "true", "2026-01-01T00:00:00Z"),
                class("new", "true", "2026-01-02T00:00:00Z"),
                class("no", "false", "2026-01-03T00:00:00Z"),
            ]
            .into_iter()
        };
        let check = |tree: Value, expected: &str| {
            let mut ingress = object(tree);
            fill(&mut ingress, classes());
            assert_eq!(ingress.str_at(&["spec", "ingressClassName"]), expected);
        };
        check(value!({}), "new");
        check(value!({"spec": {"ingressClassName": "own"}}), "own");
        check(value!({"metadata": {"annotations": {OLD_NAME: "x"}}}), "");
    }
}
