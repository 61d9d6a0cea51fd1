//! The scale of a workload, as `autoscaling/v1` Scale.

use apimachinery::{Object, Status, Value};
use http::StatusCode;

use super::options::WriteOptions;
use super::patch::Patch;
use super::store::Cursor;
use super::update::{Change, Part, Source, Updated};
use super::{Call, body};
use crate::reply::Response;

pub(super) async fn run(call: &Call<'_>) -> Result<Response, Status> {
    call.accept()?;
    if call.info.verb == "get" {
        let mut cursor = Cursor::open(call.store()?, call.key()?).await?;
        cursor.refresh().await?;
        let found = cursor.current().ok_or_else(|| call.not_found())?;
        return call.shown(StatusCode::OK, &scale_of(&found.object()));
    }
    let options = WriteOptions::parse(&call.info.query)?;
    let updated = if call.info.verb == "update" {
        let wanted = body::object_of(call, "Scale")?;
        let candidate = |old: &Object| scaled(old, &wanted);
        change(call, &options, &candidate).await?
    } else {
        let patch = Patch::of(call)?;
        let candidate = |old: &Object| scaled(old, &patch.apply(&scale_of(old), call.resource)?);
        change(call, &options, &candidate).await?
    };
    let object = match updated {
        Updated::Stored(stored) => stored.object(),
        Updated::Dry(object) => object,
    };
    call.shown(StatusCode::OK, &scale_of(&object))
}

async fn change(
    call: &Call<'_>,
    options: &WriteOptions,
    candidate: super::update::Candidate<'_>,
) -> Result<Updated, Status> {
    Change { part: Part::Scale, options, candidate, source: Source::Patch }.run(call).await
}

/// The scale of a workload.
fn scale_of(object: &Object) -> Object {
    let mut scale = Object::new("autoscaling/v1", "Scale");
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.metadata().get(field) {
            scale.set_at(&["metadata", field], value.clone());
        }
    }
    scale.set_at(&["spec"], Value::map());
    let wanted = object.i64_at(&["spec", "replicas"]).unwrap_or(0);
    if wanted != 0 {
        scale.set_at(&["spec", "replicas"], wanted);
    }
    scale.set_at(&["status", "replicas"], object.i64_at(&["status", "replicas"]).unwrap_or(0));
    let selector = selector_text(object);
    if !selector.is_empty() {
        scale.set_at(&["status", "selector"], selector);
    }
    scale
}

/// The selector of a workload as text: `app=web,tier in (a,b)`.
fn selector_text(object: &Object) -> String {
    let selector = object.map_at(&["spec", "selector"]);
    let labels = selector.get("matchLabels").and_then(Value::as_map);
    // A ReplicationController's selector is the labels themselves.
    let plain = labels.is_none() && !selector.contains_key("matchExpressions");
    let labels = labels.or(plain.then_some(selector));
    let mut terms: Vec<String> = labels
        .map(|labels| labels.strings().map(|(key, value)| format!("{key}={value}")).collect())
        .unwrap_or_default();
    let expressions = selector.get("matchExpressions").and_then(Value::as_list).unwrap_or_default();
    for expression in expressions {
        let values: Vec<&str> = expression.list("values").iter().filter_map(Value::as_str).collect();
        let (key, values) = (expression.str("key"), values.join(","));
        terms.push(match expression.str("operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    terms.sort();
    terms.join(",")
}

/// The workload with the replicas of a scale.
fn scaled(old: &Object, scale: &Object) -> Result<Object, Status> {
    let replicas = scale.i64_at(&["spec", "replicas"]).unwrap_or(0);
    if !(0..=i64::from(i32::MAX)).contains(&replicas) {
        let error =
            apimachinery::field::FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", old.name(), vec![error]));
    }
    let mut new = old.clone();
    new.set_uid(scale.uid());
    new.set_resource_version(scale.resource_version());
    new.set_at(&["spec", "replicas"], replicas);
    Ok(new)
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    #[test]
    fn a_scale_shows_replicas_and_selector() {
        let deployment = Object::try_from(value!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default", "labels": {"a": "b"}},
            "spec": {"replicas": 3, "selector": {
                "matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}],
            }},
            "status": {"replicas": 2},
        }))
        .unwrap();
        let scale = scale_of(&deployment);
        assert_eq!(scale.i64_at(&["spec", "replicas"]), Some(3));
        assert_eq!(scale.i64_at(&["status", "replicas"]), Some(2));
        assert_eq!(scale.str_at(&["status", "selector"]), "app=web,tier in (a,b)");
        let mut wanted = scale.clone();
        wanted.set_at(&["spec", "replicas"], -1);
        assert_eq!(scaled(&deployment, &wanted).unwrap_err().code(), 422);
        wanted.set_at(&["spec", "replicas"], 5);
        assert_eq!(scaled(&deployment, &wanted).unwrap().i64_at(&["spec", "replicas"]), Some(5));
    }
}
