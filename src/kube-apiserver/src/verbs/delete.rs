//! Deletes an object: at once, after a grace period, or when its finalizers are gone.

use std::sync::Arc;

use apimachinery::status::Details;
use apimachinery::{Object, Status, time};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};

use super::options::{DeleteOptions, Propagation};
use super::store::Cursor;
use super::update::is_over;
use super::{Call, body};
use crate::admission::{Attributes, Charges, Operation};
use crate::reply::Response;
use crate::stored::Stored;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

pub(super) async fn run(call: &Call<'_>) -> Result<Response, Status> {
    call.accept()?;
    let options = DeleteOptions::parse(body::delete_options(call)?.as_ref(), &call.info.query)?;
    match delete(call, &call.info.name, &options).await? {
        Deleted::Pending(object) => call.written(StatusCode::OK, &object),
        Deleted::Dry(object) => call.shown(StatusCode::OK, &object),
        Deleted::Gone(last) => {
            let descriptor = call.resource.descriptor;
            let details = Details {
                name: last.name.to_string(),
                group: call.info.group.clone(),
                kind: descriptor.plural.to_owned(),
                uid: last.uid.to_string(),
                ..Details::default()
            };
            super::success(call, StatusCode::OK, &Status::success().with_details(details))
        }
    }
}

/// What a delete came to.
pub(super) enum Deleted {
    /// The object is no longer there; this was its last state.
    Gone(Arc<Stored>),
    /// The object is marked and waits for its end.
    Pending(Arc<Stored>),
    /// Nothing was done; this would be its state.
    Dry(Object),
}

/// What is to be written for a delete.
enum Next {
    Remove,
    Mark(Object),
    Nothing,
}

/// Deletes one object of the namespace in the path.
pub(super) async fn delete(call: &Call<'_>, name: &str, options: &DeleteOptions) -> Result<Deleted, Status> {
    let store = call.store()?;
    let namespace = if call.resource.descriptor.is_namespaced() { &*call.info.namespace } else { "" };
    let mut cursor = Cursor::open(store, store.key(namespace, name)).await?;
    loop {
        let Some(current) = cursor.current() else {
            return Err(Status::not_found(&call.info.group, &call.info.resource, name));
        };
        let old = current.object();
        let next = match attempt(call, &old, options).await {
            Err(_) if cursor.may_be_stale() => {
                cursor.refresh().await?;
                continue;
            }
            attempt => attempt?,
        };
        match next {
            _ if options.dry_run => return Ok(Deleted::Dry(old)),
            Next::Nothing if cursor.may_be_stale() => cursor.refresh().await?,
            Next::Nothing => return Ok(Deleted::Pending(current)),
            Next::Remove => {
                if let Some(last) = cursor.remove().await? {
                    call.app.allocators.release(call.app, call.resource, &old).await;
                    return Ok(Deleted::Gone(last));
                }
            }
            Next::Mark(object) => {
                if let Some(written) = cursor.write(&object, None).await? {
                    return Ok(Deleted::Pending(written));
                }
            }
        }
    }
}

async fn attempt(call: &Call<'_>, old: &Object, options: &DeleteOptions) -> Result<Next, Status> {
    check_preconditions(call, old, options)?;
    let attributes = Attributes {
        app: call.app,
        info: call.info,
        user: call.user,
        resource: call.resource,
        operation: Operation::Delete,
        object: None,
        old: Some(old),
        dry_run: options.dry_run,
        warnings: &call.warnings,
        charges: &Charges::default(),
    };
    call.app.admission.validate(&attributes).await?;
    Ok(plan(old, options, Timestamp::now()))
}

fn check_preconditions(call: &Call<'_>, old: &Object, options: &DeleteOptions) -> Result<(), Status> {
    let conflict = |why: String| Status::conflict(&call.info.group, &call.info.resource, old.name(), why);
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != old.uid()) {
        return Err(conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            old.uid()
        )));
    }
    if let Some(version) = options.resource_version.as_deref()
        && version != old.resource_version()
    {
        return Err(conflict(format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
            old.resource_version()
        )));
    }
    Ok(())
}

/// What a delete does to an object. Pure, so that its many cases can be tested.
fn plan(old: &Object, options: &DeleteOptions, now: Timestamp) -> Next {
    let mut new = old.clone();
    set_propagation(&mut new, options.propagation);
    let grace = grace_period(old, options.grace_period_seconds);
    match old.deletion_grace_period_seconds().filter(|_| old.deletion_timestamp().is_some()) {
        // Marked already: only a shorter period changes anything.
        Some(present) => {
            if let Some(wanted) = options.grace_period_seconds.filter(|wanted| *wanted < present) {
                let asked = old
                    .deletion_timestamp()
                    .and_then(time::parse)
                    .map_or(now, |at| at - SignedDuration::from_secs(present));
                mark(&mut new, asked, wanted);
            }
        }
        None if old.deletion_timestamp().is_some() => {}
        None => mark(&mut new, now, grace),
    }
    if is_over(&new) {
        return Next::Remove;
    }
    if new == *old { Next::Nothing } else { Next::Mark(new) }
}

fn mark(object: &mut Object, asked: Timestamp, grace: i64) {
    object.set_deletion_timestamp(&time::format(asked + SignedDuration::from_secs(grace)));
    // A namespace ends when it is empty, not after a time.
    if object.kind() != "Namespace" {
        object.metadata_mut().insert("deletionGracePeriodSeconds", grace);
    }
    if object.generation() > 0 {
        object.set_generation(object.generation() + 1);
    }
    if object.kind() == "Namespace" {
        object.set_at(&["status", "phase"], "Terminating");
    }
}

/// How long an object may take to end. Only pods that run somewhere need time; their kubelet then deletes them with 0.
fn grace_period(object: &Object, wanted: Option<i64>) -> i64 {
    let pod = object.kind() == "Pod" && object.api_version() == "v1";
    let ended = matches!(object.str_at(&["status", "phase"]), "Succeeded" | "Failed");
    if !pod || ended || object.str_at(&["spec", "nodeName"]).is_empty() {
        return 0;
    }
    let own = object.i64_at(&["spec", "terminationGracePeriodSeconds"]).unwrap_or(30);
    wanted.unwrap_or(own).max(0)
}

fn set_propagation(object: &mut Object, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let mut finalizers: Vec<String> =
        object.finalizers().filter(|finalizer| !matches!(*finalizer, FOREGROUND | ORPHAN)).map(str::to_owned).collect();
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => finalizers.push(FOREGROUND.to_owned()),
        Propagation::Orphan => finalizers.push(ORPHAN.to_owned()),
    }
    let same = object.finalizers().eq(finalizers.iter().map(String::as_str));
    if !same {
        object.set_finalizers(&finalizers);
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::{Value, value};

    use super::*;

    fn object(tree: Value) -> Object {
        Object::try_from(tree).unwrap()
    }

    fn now() -> Timestamp {
        time::parse("2026-01-01T00:00:00Z").unwrap()
    }

    fn check(tree: Value, options: &DeleteOptions, expected: &str) {
        let seen = match plan(&object(tree), options, now()) {
            Next::Remove => "removed".to_owned(),
            Next::Nothing => "nothing".to_owned(),
            Next::Mark(object) => format!(
                "{} {} {:?}",
                object.deletion_timestamp().unwrap_or("-"),
                object.deletion_grace_period_seconds().unwrap_or(-1),
                object.finalizers().collect::<Vec<_>>()
            ),
        };
        assert_eq!(seen, expected);
    }

    fn running() -> Value {
        value!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}, "status": {"phase": "Running"},
        })
    }

    fn grace(seconds: i64) -> DeleteOptions {
        DeleteOptions { grace_period_seconds: Some(seconds), ..DeleteOptions::default() }
    }

    fn propagate(propagation: Propagation) -> DeleteOptions {
        DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() }
    }

    #[test]
    fn only_a_pod_that_runs_somewhere_gets_time() {
        check(running(), &DeleteOptions::default(), "2026-01-01T00:00:30Z 30 []");
        check(running(), &grace(5), "2026-01-01T00:00:05Z 5 []");
        check(running(), &grace(0), "removed");
        let mut unscheduled = running();
        unscheduled.remove_at(&["spec", "nodeName"]);
        check(unscheduled, &DeleteOptions::default(), "removed");
        let mut ended = running();
        ended.set_at(&["status", "phase"], "Succeeded");
        check(ended, &DeleteOptions::default(), "removed");
        check(value!({"kind": "ConfigMap", "metadata": {"name": "c"}}), &DeleteOptions::default(), "removed");
    }

    #[test]
    fn a_second_delete_can_only_shorten_the_time() {
        let mut marked = running();
        marked.set_at(&["metadata", "deletionTimestamp"], "2026-01-01T00:00:20Z");
        marked.set_at(&["metadata", "deletionGracePeriodSeconds"], 30);
        check(marked.clone(), &DeleteOptions::default(), "nothing");
        check(marked.clone(), &grace(60), "nothing");
        check(marked.clone(), &grace(10), "2026-01-01T00:00:00Z 10 []");
        check(marked, &grace(0), "removed");
    }

    #[test]
    fn finalizers_hold_an_object_back() {
        let held = || value!({"kind": "ConfigMap", "metadata": {"name": "c", "finalizers": ["a/b"]}});
        check(held(), &DeleteOptions::default(), "2026-01-01T00:00:00Z 0 [\"a/b\"]");
        check(held(), &propagate(Propagation::Foreground), "2026-01-01T00:00:00Z 0 [\"a/b\", \"foregroundDeletion\"]");
        let plain = || value!({"kind": "ConfigMap", "metadata": {"name": "c"}});
        check(plain(), &propagate(Propagation::Orphan), "2026-01-01T00:00:00Z 0 [\"orphan\"]");
        check(plain(), &propagate(Propagation::Background), "removed");
    }

    #[test]
    fn a_namespace_waits_for_the_finalizers_of_its_spec() {
        let namespace =
            value!({"kind": "Namespace", "metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}});
        let Next::Mark(marked) = plan(&object(namespace), &DeleteOptions::default(), now()) else {
            panic!("not marked");
        };
        assert_eq!(marked.str_at(&["status", "phase"]), "Terminating");
        assert!(matches!(plan(&marked, &DeleteOptions::default(), now()), Next::Nothing));
    }
}
