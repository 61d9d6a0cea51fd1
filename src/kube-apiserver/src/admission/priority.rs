//! `Priority`: the name of a priority class becomes a number, and at most one class is the default.

use apimachinery::{Object, Status, Value};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    name: "Priority",
    by_default: true,
    handles: |attributes| attributes.is_new_pod() || attributes.is("scheduling.k8s.io", "priorityclasses"),
    mutate: Some(resolve),
    validate: Some(check_class),
};

fn resolve<'a>(attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        if !attributes.is_new_pod() {
            return Ok(());
        }
        let Some(pod) = attributes.object.as_deref() else { return Ok(()) };
        let name = pod.str_at(&["spec", "priorityClassName"]).to_owned();
        let class = if name.is_empty() { default_class(attributes) } else { Some(find(attributes, &name).await?) };
        let (value, policy) = class.as_ref().map_or((0, "PreemptLowerPriority"), |class| {
            let policy = class.str_at(&["preemptionPolicy"]);
            let policy = if policy.is_empty() { "PreemptLowerPriority" } else { policy };
            (class.i64_at(&["value"]).unwrap_or(0), policy)
        });
        let wrong = pod.i64_at(&["spec", "priority"]).filter(|given| *given != value);
        if let Some(given) = wrong {
            return Err(attributes.forbidden(format_args!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
                 controller computed {value} from the given PriorityClass name"
            )));
        }
        let own = pod.str_at(&["spec", "preemptionPolicy"]);
        if !own.is_empty() && own != policy {
            return Err(attributes.forbidden(format_args!(
                "the string value of PreemptionPolicy ({own}) must not be provided in pod spec; priority admission \
                 controller computed {policy} from the given PriorityClass name"
            )));
        }
        let Some(pod) = attributes.object.as_deref_mut() else { return Ok(()) };
        pod.set_at(&["spec", "priority"], value);
        if pod.str_at(&["spec", "preemptionPolicy"]).is_empty() {
            pod.set_at(&["spec", "preemptionPolicy"], policy);
        }
        if let Some(class) = class {
            pod.set_at(&["spec", "priorityClassName"], class.name());
        }
        Ok(())
    }
    .boxed()
}

async fn find(attributes: &Attributes<'_>, name: &str) -> Result<Object, Status> {
    let registry = &attributes.app.registry;
    let found = registry.get_fresh("scheduling.k8s.io", "priorityclasses", "", name).await;
    found
        .map(|class| class.object())
        .ok_or_else(|| attributes.forbidden(format_args!("no PriorityClass with name {name} was found")))
}

/// Of several defaults the lowest counts, as upstream.
fn default_class(attributes: &Attributes<'_>) -> Option<Object> {
    let classes = attributes.app.registry.list("scheduling.k8s.io", "priorityclasses", "");
    let classes = classes.iter().map(|class| class.object());
    classes.filter(|class| class.bool_at(&["globalDefault"])).min_by_key(|class| class.i64_at(&["value"]).unwrap_or(0))
}

fn check_class<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let outcome = match attributes.object.as_deref() {
        Some(class) if attributes.operation != Operation::Delete && !attributes.is("", "pods") => {
            let wants = class.at(&["globalDefault"]).and_then(Value::as_bool).unwrap_or(false);
            match default_class(attributes).filter(|other| wants && other.name() != class.name()) {
                Some(other) => Err(attributes.forbidden(format_args!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    other.name()
                ))),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    };
    futures::future::ready(outcome).boxed()
}
