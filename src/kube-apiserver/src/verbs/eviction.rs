//! Deletes a pod if its disruption budgets allow it.

use std::sync::Arc;

use apimachinery::selector::LabelSelector;
use apimachinery::status::{Cause, Details};
use apimachinery::{Object, Status, Value, time, value};
use http::StatusCode;
use jiff::Timestamp;

use super::delete::delete;
use super::options::DeleteOptions;
use super::store::Cursor;
use super::{Call, body};
use crate::error;
use crate::reply::Response;
use crate::stored::Stored;

/// How many evictions a budget's controller may be behind with.
const MOST_UNCONFIRMED: usize = 2000;

pub(super) async fn run(call: &Call<'_>) -> Result<Response, Status> {
    let mut eviction = body::object_of(call, "Eviction")?;
    if !eviction.name().is_empty() && eviction.name() != call.info.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let given = eviction.at(&["deleteOptions"]).cloned().map(Object::try_from);
    let given = given.transpose().map_err(|error| Status::bad_request(error.to_string()))?;
    let options = DeleteOptions::parse(given.as_ref(), &call.info.query)?;
    let mut cursor = Cursor::open(call.store()?, call.key()?).await?;
    cursor.refresh().await?;
    let pod = cursor.current().ok_or_else(|| call.not_found())?;
    call.admit_part(&mut eviction, Some(&pod.object()), options.dry_run).await?;
    evict(call, &mut cursor, &options).await?;
    super::success(call, StatusCode::CREATED, &Status::success())
}

async fn evict(call: &Call<'_>, cursor: &mut Cursor<'_>, wanted: &DeleteOptions) -> Result<(), Status> {
    loop {
        let pod = cursor.current().ok_or_else(|| call.not_found())?;
        let object = pod.object();
        let mut options = wanted.clone();
        let taken = if needs_budget(&object) {
            take_from_budget(call, &pod, &object, options.dry_run).await?
        } else {
            Taken::NotNeeded { budget: None }
        };
        // The budget was taken for this pod, not for one of the same name.
        options.uid.get_or_insert_with(|| object.uid().to_owned());
        // A pod that went without being counted must not have become ready meanwhile.
        let pinned =
            wanted.resource_version.is_none() && !has_ended(&object) && matches!(taken, Taken::NotNeeded { .. });
        if pinned {
            options.resource_version = Some(object.resource_version().to_owned());
        }
        return match (delete(call, &call.info.name, &options).await, taken) {
            (Err(status), Taken::NotNeeded { budget: Some(budget) }) if pinned && status.code() == 409 => {
                Err(behind(&budget))
            }
            (Err(status), Taken::NotNeeded { budget: None }) if pinned && status.code() == 409 => {
                cursor.refresh().await?;
                continue;
            }
            (outcome, _) => outcome.map(|_| ()),
        };
    }
}

/// What became of the budget.
enum Taken {
    /// It allows one disruption less, or there is none.
    Charged,
    /// This pod disrupts nothing; the budget that covers it nevertheless.
    NotNeeded { budget: Option<String> },
}

fn has_ended(pod: &Object) -> bool {
    pod.deletion_timestamp().is_some() || matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed")
}

/// Pods that have ended, wait for a node or are ending disrupt nothing.
fn needs_budget(pod: &Object) -> bool {
    !has_ended(pod) && pod.str_at(&["status", "phase"]) != "Pending"
}

async fn take_from_budget(call: &Call<'_>, pod: &Stored, object: &Object, dry_run: bool) -> Result<Taken, Status> {
    let resource = call.app.registry.stored("policy", "poddisruptionbudgets").ok_or_else(Status::unknown_path)?;
    let Some(store) = &resource.store else { return Ok(Taken::Charged) };
    let snapshot = store.cacher.consistent().await.map_err(|error| error::from_storage(&error))?;
    let range = snapshot.range(&store.folder(&pod.namespace)).map_err(|error| error::from_read(&error))?;
    let budgets: Vec<Arc<Stored>> =
        range.filter(|(_, budget)| covers(&budget.object(), object)).map(|(_, b)| Arc::clone(b)).collect();
    let budget = match budgets.as_slice() {
        [] => return Ok(Taken::Charged),
        [only] => only,
        _ => {
            let told =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::failure(500, "", told));
        }
    };
    let mut cursor = Cursor::open(store, store.key(&budget.namespace, &budget.name)).await?;
    cursor.refresh().await?;
    while let Some(current) = cursor.current() {
        let Some(next) = disrupted(&current.object(), object)? else {
            return Ok(Taken::NotNeeded { budget: Some(budget.name.to_string()) });
        };
        if dry_run || cursor.write(&next, None).await?.is_some() {
            break;
        }
    }
    Ok(Taken::Charged)
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
    if observed < budget.generation() {
        return Err(behind(budget.name()));
    }
    let forbidden = |why: &str| Err(Status::forbidden("policy", "poddisruptionbudget", budget.name(), why));
    if budget.map_at(&["status", "disruptedPods"]).len() > MOST_UNCONFIRMED {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    match budget.i64_at(&["status", "disruptionsAllowed"]).unwrap_or(0) {
        ..0 => forbidden("pdb disruptions allowed is negative"),
        0 => Err(refused(budget, healthy, desired)),
        allowed => Ok(Some(charged(budget, pod.name(), allowed - 1))),
    }
}

/// The budget after one disruption more; its controller is told which pod it was.
fn charged(budget: &Object, pod: &str, allowed: i64) -> Object {
    let now = time::format(Timestamp::now());
    let mut next = budget.clone();
    next.set_at(&["status", "disruptionsAllowed"], allowed);
    next.set_at(&["status", "disruptedPods", pod], now.as_str());
    if allowed == 0 {
        let mut conditions = budget.list_at(&["status", "conditions"]).to_vec();
        conditions.retain(|condition| condition.str("type") != "DisruptionAllowed");
        conditions.push(value!({
            "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
            "observedGeneration": (budget.i64_at(&["status", "observedGeneration"]).unwrap_or(0)),
            "lastTransitionTime": (now),
        }));
        next.set_at(&["status", "conditions"], Value::List(conditions));
    }
    next
}

const REFUSAL: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// 429: nobody knows yet what the budget allows.
fn behind(budget: &str) -> Status {
    too_many(10, format!("The disruption budget {budget} is still being processed by the server."))
}

fn too_many(seconds: u32, message: String) -> Status {
    let cause = Cause { reason: "DisruptionBudget".to_owned(), message, ..Cause::default() };
    Status::too_many_requests(REFUSAL, seconds).with_details(Details {
        causes: vec![cause],
        retry_after_seconds: seconds,
        ..Details::default()
    })
}

fn refused(budget: &Object, healthy: i64, desired: i64) -> Status {
    let name = budget.name();
    too_many(0, format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"))
}

#[cfg(test)]
mod tests {
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
        assert_eq!(next.str_at(&["status", "conditions", "0", "reason"]), "InsufficientPods");
        let refused = disrupted(&next, &pod("True")).unwrap_err();
        assert_eq!(refused.code(), 429);
        let cause = &refused.details().unwrap().causes[0];
        assert_eq!(cause.reason, "DisruptionBudget");
        assert_eq!(cause.message, "The disruption budget b needs 2 healthy pods and has 2 currently");
    }

    #[test]
    fn a_budget_nobody_has_looked_at_allows_nothing_yet() {
        let mut new = budget(1);
        new.set_generation(2);
        let refused = disrupted(&new, &pod("True")).unwrap_err();
        assert_eq!((refused.code(), refused.details().unwrap().retry_after_seconds), (429, 10));
        let told = &refused.details().unwrap().causes[0].message;
        assert_eq!(told, "The disruption budget b is still being processed by the server.");
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
