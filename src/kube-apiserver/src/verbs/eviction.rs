//! Deletes a pod if its disruption budgets allow it.

use std::sync::Arc;

use apimachinery::selector::LabelSelector;
use apimachinery::status::{Cause, Details};
use apimachinery::{Object, Status, time};
use http::StatusCode;
use jiff::Timestamp;

use super::delete::delete;
use super::options::DeleteOptions;
use super::store::Cursor;
use super::{Call, body};
use crate::error;
use crate::reply;
use crate::reply::Response;
use crate::stored::Stored;

pub(super) async fn run(call: &Call<'_>) -> Result<Response, Status> {
    let eviction = body::object_of(call, "Eviction")?;
    if !eviction.name().is_empty() && eviction.name() != call.info.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let given = eviction.at(&["deleteOptions"]).cloned().map(Object::try_from);
    let given = given.transpose().map_err(|error| Status::bad_request(error.to_string()))?;
    let mut options = DeleteOptions::parse(given.as_ref(), &call.info.query)?;
    let mut cursor = Cursor::open(call.store()?, call.key()?).await?;
    cursor.refresh().await?;
    let pod = cursor.current().ok_or_else(|| call.not_found())?;
    let object = pod.object();
    if needs_budget(&object) {
        take_from_budget(call, &pod, &object, options.dry_run).await?;
        // The budget was taken for this pod, not for one of the same name.
        options.uid.get_or_insert_with(|| object.uid().to_owned());
    }
    delete(call, &call.info.name, &options).await?;
    Ok(reply::json(StatusCode::CREATED, error::encode(&Status::success())))
}

/// Pods that have ended, wait for a node or are ending disrupt nothing.
fn needs_budget(pod: &Object) -> bool {
    pod.deletion_timestamp().is_none()
        && !matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed" | "Pending")
}

async fn take_from_budget(call: &Call<'_>, pod: &Stored, object: &Object, dry_run: bool) -> Result<(), Status> {
    let resource = call.app.registry.stored("policy", "poddisruptionbudgets").ok_or_else(Status::unknown_path)?;
    let Some(store) = &resource.store else { return Ok(()) };
    let snapshot = store.cacher.consistent().await.map_err(|error| error::from_storage(&error))?;
    let range = snapshot.range(&store.folder(&pod.namespace)).map_err(|error| error::from_read(&error))?;
    let budgets: Vec<Arc<Stored>> =
        range.filter(|(_, budget)| covers(&budget.object(), object)).map(|(_, b)| Arc::clone(b)).collect();
    let budget = match budgets.as_slice() {
        [] => return Ok(()),
        [only] => only,
        _ => {
            return Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let mut cursor = Cursor::open(store, store.key(&budget.namespace, &budget.name)).await?;
    cursor.refresh().await?;
    while let Some(current) = cursor.current() {
        let Some(next) = disrupted(&current.object(), object)? else { return Ok(()) };
        if dry_run || cursor.write(&next, None).await?.is_some() {
            return Ok(());
        }
    }
    Ok(())
}

fn covers(budget: &Object, pod: &Object) -> bool {
    let selector = LabelSelector::from_object(budget.at(&["spec", "selector"]));
    selector.is_ok_and(|selector| selector.matches(pod.labels()))
}

/// The budget after this disruption; `None` if the pod is not ready and may go without being counted.
fn disrupted(budget: &Object, pod: &Object) -> Result<Option<Object>, Status> {
    let ready = pod
        .list_at(&["status", "conditions"])
        .iter()
        .any(|condition| condition.str("type") == "Ready" && condition.str("status") == "True");
    let healthy = budget.i64_at(&["status", "currentHealthy"]).unwrap_or(0);
    let desired = budget.i64_at(&["status", "desiredHealthy"]).unwrap_or(0);
    let always = budget.str_at(&["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
    if !ready && (always || (healthy >= desired && desired > 0)) {
        return Ok(None);
    }
    let observed = budget.i64_at(&["status", "observedGeneration"]).unwrap_or(0);
    let allowed = budget.i64_at(&["status", "disruptionsAllowed"]).unwrap_or(0);
    if observed < budget.generation() || allowed <= 0 {
        return Err(refused(budget, healthy, desired));
    }
    let mut next = budget.clone();
    next.set_at(&["status", "disruptionsAllowed"], allowed - 1);
    next.set_at(&["status", "disruptedPods", pod.name()], time::format(Timestamp::now()));
    Ok(Some(next))
}

fn refused(budget: &Object, healthy: i64, desired: i64) -> Status {
    let cause = Cause {
        reason: "DisruptionBudget".to_owned(),
        message: format!(
            "The disruption budget {} needs {desired} healthy pods and has {healthy} currently",
            budget.name()
        ),
        ..Cause::default()
    };
    Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
        .with_details(Details { causes: vec![cause], ..Details::default() })
}

#[cfg(test)]
mod tests {
    use apimachinery::{Value, value};

    use super::*;

    fn object(tree: Value) -> Object {
        Object::try_from(tree).unwrap()
    }

    fn pod(ready: &str) -> Object {
        object(value!({
            "metadata": {"name": "p", "labels": {"app": "web"}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        }))
    }

    fn budget(allowed: i64) -> Object {
        object(value!({
            "metadata": {"name": "b", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": {
                "disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 2, "observedGeneration": 1,
            },
        }))
    }

    #[test]
    fn a_budget_is_used_up() {
        assert!(covers(&budget(1), &pod("True")));
        let next = disrupted(&budget(1), &pod("True")).unwrap().unwrap();
        assert_eq!(next.i64_at(&["status", "disruptionsAllowed"]), Some(0));
        assert!(next.at(&["status", "disruptedPods", "p"]).is_some());
        assert_eq!(disrupted(&next, &pod("True")).unwrap_err().code(), 429);
    }

    #[test]
    fn a_pod_that_is_not_ready_may_go_when_enough_others_are() {
        assert!(disrupted(&budget(0), &pod("False")).unwrap().is_none());
    }

    #[test]
    fn pods_that_do_not_run_disrupt_nothing() {
        assert!(needs_budget(&pod("True")));
        assert!(!needs_budget(&object(value!({"status": {"phase": "Pending"}}))));
    }
}
