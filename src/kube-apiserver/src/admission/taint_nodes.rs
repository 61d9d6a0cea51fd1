//! `TaintNodesByCondition`: a new node takes no pods until it says that it is ready.

use apimachinery::{Status, Value, value};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) const PLUGIN: Plugin = Plugin {
    name: "TaintNodesByCondition",
    by_default: true,
    handles: |attributes| {
        attributes.operation == Operation::Create
            && attributes.is("", "nodes")
            && attributes.info.subresource.is_empty()
    },
    mutate: Some(mutate),
    validate: None,
};

fn mutate<'a>(attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    if let Some(node) = attributes.object.as_deref_mut() {
        let mut taints = node.list_at(&["spec", "taints"]).to_vec();
        let there = |taint: &Value| taint.str("key") == NOT_READY && taint.str("effect") == "NoSchedule";
        if !taints.iter().any(there) {
            taints.push(value!({"key": NOT_READY, "effect": "NoSchedule"}));
            node.set_at(&["spec", "taints"], Value::List(taints));
        }
    }
    futures::future::ready(Ok(())).boxed()
}
