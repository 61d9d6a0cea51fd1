//! `NamespaceLifecycle`: nothing is created in a namespace that is missing or ending, and some namespaces stay.

use apimachinery::Status;
use apimachinery::status::Cause;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};

/// Namespaces nobody may delete.
const PERMANENT: &[&str] = &["default", "kube-system", "kube-public"];

pub(super) const PLUGIN: Plugin = Plugin {
    name: "NamespaceLifecycle",
    by_default: true,
    handles: |attributes| {
        attributes.operation != Operation::Update
            && matches!(attributes.info.subresource.as_str(), "" | "token")
            && (attributes.resource.descriptor.is_namespaced() || attributes.is("", "namespaces"))
    },
    mutate: Some(|attributes| create(attributes)),
    validate: Some(delete),
};

fn create<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        if attributes.operation != Operation::Create || !attributes.resource.descriptor.is_namespaced() {
            return Ok(());
        }
        let namespace = &attributes.info.namespace;
        let registry = &attributes.app.registry;
        let found = registry.get_fresh("", "namespaces", "", namespace).await;
        let found = found.ok_or_else(|| Status::not_found("", "namespaces", namespace))?;
        if found.field("status.phase") == Some("Terminating") {
            return Err(terminating(attributes, namespace));
        }
        Ok(())
    }
    .boxed()
}

/// 403 with the cause by which controllers know that there is nothing to try again.
fn terminating(attributes: &Attributes<'_>, namespace: &str) -> Status {
    let status = attributes.forbidden(format_args!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    ));
    let mut details = status.details().cloned().unwrap_or_default();
    details.causes.push(Cause {
        reason: "NamespaceTerminating".to_owned(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".to_owned(),
    });
    status.with_details(details)
}

fn delete<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    let permanent = attributes.operation == Operation::Delete
        && attributes.is("", "namespaces")
        && PERMANENT.contains(&attributes.info.name.as_str());
    let outcome = if permanent { Err(attributes.forbidden("this namespace may not be deleted")) } else { Ok(()) };
    futures::future::ready(outcome).boxed()
}
