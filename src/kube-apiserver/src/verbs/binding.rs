//! Assigns a pod to a node, on behalf of a scheduler.

use apimachinery::{Object, Status, Value, time, value};
use http::StatusCode;
use jiff::Timestamp;

use super::options::WriteOptions;
use super::update::{Change, Part, Source};
use super::{Call, Warnings, body};
use crate::reply::Response;
use crate::request_info::RequestInfo;

pub(super) async fn run(call: &Call<'_>) -> Result<Response, Status> {
    let options = WriteOptions::parse(&call.info.query)?;
    let binding =
        if call.info.resource == "bindings" { body::object(call)? } else { body::object_of(call, "Binding")? };
    let pod = if call.info.name.is_empty() { binding.name() } else { &call.info.name };
    check(&binding, pod)?;
    let pods = call.app.registry.stored("", "pods").ok_or_else(Status::unknown_path)?;
    let info = RequestInfo {
        resource: "pods".to_owned(),
        name: pod.to_owned(),
        subresource: "binding".to_owned(),
        ..call.info.clone()
    };
    let on_pod = Call {
        app: call.app,
        info: &info,
        user: call.user,
        headers: call.headers,
        resource: pods,
        body: bytes::Bytes::new(),
        warnings: Warnings::default(),
    };
    let candidate = |old: &Object| bound(old, &binding);
    Change { part: Part::Scale, options: &options, candidate: &candidate, source: Source::Patch }.run(&on_pod).await?;
    super::success(call, StatusCode::CREATED, &Status::success())
}

fn check(binding: &Object, pod: &str) -> Result<(), Status> {
    if !binding.name().is_empty() && binding.name() != pod {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    if binding.str_at(&["target", "name"]).is_empty() {
        let error = apimachinery::field::FieldError::required("target.name", "");
        return Err(Status::invalid("", "Binding", pod, vec![error]));
    }
    match binding.str_at(&["target", "kind"]) {
        "" | "Node" => Ok(()),
        other => {
            let error = apimachinery::field::FieldError::not_supported("target.kind", other, &["Node", "<empty>"]);
            Err(Status::invalid("", "Binding", pod, vec![error]))
        }
    }
}

/// The pod on its node, with the condition that says so.
fn bound(old: &Object, binding: &Object) -> Result<Object, Status> {
    let conflict = |why: String| Status::conflict("", "pods/binding", old.name(), why);
    if old.deletion_timestamp().is_some() {
        return Err(conflict(format!("pod {} is being deleted, cannot be assigned to a host", old.name())));
    }
    let node = old.str_at(&["spec", "nodeName"]);
    if !node.is_empty() {
        return Err(conflict(format!("pod {} is already assigned to node {node:?}", old.name())));
    }
    if !old.list_at(&["spec", "schedulingGates"]).is_empty() {
        return Err(conflict(format!("pod {} has non-empty .spec.schedulingGates", old.name())));
    }
    let mut pod = old.clone();
    pod.set_uid(binding.uid());
    pod.set_resource_version(binding.resource_version());
    pod.set_at(&["spec", "nodeName"], binding.str_at(&["target", "name"]));
    for (key, value) in binding.annotations().strings() {
        pod.set_annotation(key, value);
    }
    for (key, value) in binding.labels().strings() {
        pod.set_label(key, value);
    }
    let mut conditions = pod.list_at(&["status", "conditions"]).to_vec();
    conditions.retain(|condition| condition.str("type") != "PodScheduled");
    conditions.push(value!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": time::format(Timestamp::now()),
    }));
    pod.set_at(&["status", "conditions"], Value::List(conditions));
    Ok(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(tree: Value) -> Object {
        Object::try_from(tree).unwrap()
    }

    #[test]
    fn a_pod_is_bound_once() {
        let pod = object(value!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {}}));
        let binding = object(value!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}));
        let once = bound(&pod, &binding).unwrap();
        assert_eq!(once.str_at(&["spec", "nodeName"]), "n");
        assert_eq!(once.str_at(&["status", "conditions", "0", "type"]), "PodScheduled");
        assert_eq!(bound(&once, &binding).unwrap_err().code(), 409);
    }

    #[test]
    fn a_pod_behind_gates_or_at_its_end_is_not_bound() {
        let binding = object(value!({"target": {"name": "n"}}));
        for pod in [
            value!({"metadata": {"name": "p", "deletionTimestamp": "t"}}),
            value!({"metadata": {"name": "p"}, "spec": {"schedulingGates": [{"name": "g"}]}}),
        ] {
            assert_eq!(bound(&object(pod), &binding).unwrap_err().code(), 409);
        }
    }
}
