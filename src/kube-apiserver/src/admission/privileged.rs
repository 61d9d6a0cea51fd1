//! `--allow-privileged=false`: no container is privileged, in no pod and in no workload.

use apimachinery::field::{FieldError, Path};
use apimachinery::{Object, Status, Value};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::pod_security::template;
use super::{Attributes, Operation, Plugin};

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Not a plugin of upstream's: there it is a check of the kind, but the kinds here know no flags.
pub(super) const PLUGIN: Plugin = Plugin {
    name: "PrivilegedContainers",
    by_default: true,
    handles: |attributes| {
        let sub = attributes.info.subresource.as_str();
        !attributes.app.config.access.allow_privileged
            && attributes.operation != Operation::Delete
            && (template(attributes).is_some() || attributes.is("", "pods"))
            && matches!(sub, "" | "ephemeralcontainers")
    },
    mutate: None,
    validate: Some(validate),
};

fn validate<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let path: Vec<&str> = template(attributes).unwrap_or_default().iter().copied().chain(["spec"]).collect();
    let errors = attributes.object.as_deref().map(|object| privileged(object, &path)).unwrap_or_default();
    let outcome = if errors.is_empty() {
        Ok(())
    } else {
        let descriptor = attributes.resource.descriptor;
        Err(Status::invalid(descriptor.group, descriptor.kind, attributes.name(), errors))
    };
    futures::future::ready(outcome).boxed()
}

fn privileged(object: &Object, path: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for list in LISTS {
        let containers = object.list_at(&[path, &[list]].concat());
        for (index, container) in containers.iter().enumerate() {
            if container.at(&["securityContext", "privileged"]) == Some(&Value::Bool(true)) {
                let place =
                    Path::new(path.join(".")).child(list).index(index).children(&["securityContext", "privileged"]);
                errors.push(FieldError::forbidden(place, "disallowed by cluster policy"));
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    #[test]
    fn privileged_containers_are_found_wherever_they_are_described() {
        let spec = value!({"containers": [{"name": "a"}, {"name": "b", "securityContext": {"privileged": true}}]});
        let check = |object: Value, path: &[&str], expected: &str| {
            let seen = privileged(&Object::try_from(object).unwrap(), path);
            assert_eq!(seen.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        };
        let told = "spec.containers[1].securityContext.privileged: Forbidden: disallowed by cluster policy";
        check(value!({"spec": (spec.clone())}), &["spec"], told);
        check(
            value!({"spec": {"template": {"spec": (spec)}}}),
            &["spec", "template", "spec"],
            &format!("spec.template.{told}"),
        );
    }
}
