//! Telling the API what became of pods.
//!
//! Statuses are patched, never replaced: a patch names only what this kubelet decides, carries the uid so that it
//! cannot hit a successor of the same name, and has no resource version that could conflict. Only the newest status of
//! a pod waits; one that says nothing new is not sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use controller_runtime::{Event, ObjectKey, Requeue, Store, WorkQueue, run_workers};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::node_context::StatusUpdate;
use crate::pod::identity;

/// How many patches may be on their way at once.
const WORKERS: usize = 4;

/// Writes statuses in the background.
pub struct StatusWriter {
    client: Client,
    pods: Store<Pod>,
    newest: Mutex<HashMap<String, Entry>>,
}

#[derive(Clone)]
struct Entry {
    update: StatusUpdate,
    sent: Option<PodStatus>,
}

impl StatusWriter {
    /// A writer that finds mirror pods in `pods`.
    pub fn new(client: Client, pods: Store<Pod>) -> Arc<Self> {
        Arc::new(Self { client, pods, newest: Mutex::default() })
    }

    /// Runs until the token is cancelled.
    pub async fn run(self: Arc<Self>, mut updates: mpsc::UnboundedReceiver<StatusUpdate>, token: CancellationToken) {
        let queue = WorkQueue::new("pod status");
        let writer = self.clone();
        let workers = tokio::spawn(run_workers(queue.clone(), WORKERS, move |uid: String| {
            let writer = writer.clone();
            async move { writer.write(&uid).await }
        }));
        let mut events = self.pods.subscribe();
        loop {
            tokio::select! {
                () = token.cancelled() => break,
                update = updates.recv() => match update {
                    Some(update) => self.take(update, &queue),
                    None => break,
                },
                event = events.recv() => match event {
                    Some(event) => self.seen(&event, &queue),
                    None => break,
                },
            }
        }
        queue.close();
        // A worker that failed to end has nothing left to say.
        let _ = workers.await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, update: StatusUpdate, queue: &WorkQueue<String>) {
        let uid = identity::uid(&update.pod).to_owned();
        let mut newest = self.lock();
        let entry = newest.entry(uid.clone()).or_insert_with(|| Entry { update: update.clone(), sent: None });
        let news = update.gone || entry.sent.as_ref() != Some(&update.status);
        entry.update = update;
        if news {
            queue.add(uid);
        }
    }

    /// A mirror that appears wants the status of its original; and where somebody else has called a pod unready, as
    /// happens to the pods of a node that was not heard of for a while, the kubelet's word is said again.
    fn seen(&self, event: &Event<Pod>, queue: &WorkQueue<String>) {
        let pod = event.object();
        let is_mirror = identity::is_mirror(pod);
        let uid = if is_mirror { identity::config_hash(pod) } else { Some(identity::uid(pod)) };
        let Some(uid) = uid else { return };
        let mut newest = self.lock();
        let Some(entry) = newest.get_mut(uid) else { return };
        let told = entry.sent.as_ref().map(is_ready);
        let contradicted = event
            .old()
            .is_some_and(|old| told == old.status.as_ref().map(is_ready) && told != pod.status.as_ref().map(is_ready));
        if contradicted || (is_mirror && matches!(event, Event::Added(_))) {
            entry.sent = None;
            queue.add(uid.to_owned());
        }
    }

    async fn write(&self, uid: &str) -> Result<Requeue, kube::Error> {
        let Some(entry) = self.lock().get(uid).cloned() else { return Ok(Requeue::No) };
        let update = entry.update;
        let Some((key, api_uid, before)) = self.target(&update.pod) else {
            if update.gone {
                self.lock().remove(uid);
            }
            return Ok(Requeue::No);
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        if entry.sent.as_ref() != Some(&update.status) {
            let patch = patch(&api_uid, before.as_ref(), &update.status);
            let patched = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
            match forgive(patched.map(drop)) {
                Ok(()) => {}
                Err(kube::Error::Api(status)) if status.code == 422 => {
                    tracing::warn!(pod = %key, error = %status, "the status was refused");
                }
                Err(error) => return Err(error),
            }
            if let Some(entry) = self.lock().get_mut(uid) {
                entry.sent = Some(update.status.clone());
            }
        }
        if update.gone {
            if !identity::is_static(&update.pod) {
                let preconditions = Some(Preconditions { uid: Some(api_uid), ..Preconditions::default() });
                let params = DeleteParams { grace_period_seconds: Some(0), preconditions, ..DeleteParams::default() };
                forgive(api.delete(&key.name, &params).await.map(drop))?;
            }
            self.lock().remove(uid);
        }
        Ok(Requeue::No)
    }

    /// The API object of a pod: itself, or the mirror of a static pod once there is one.
    fn target(&self, pod: &Pod) -> Option<(ObjectKey, String, Option<PodStatus>)> {
        let key = ObjectKey::new(identity::namespace(pod), identity::name(pod));
        if !identity::is_static(pod) {
            let present = self.pods.get(&key).filter(|present| present.metadata.uid == pod.metadata.uid);
            let status = present.and_then(|present| present.status.clone()).or_else(|| pod.status.clone());
            return Some((key, identity::uid(pod).to_owned(), status));
        }
        let mirror = self.pods.get(&key).filter(|mirror| identity::config_hash(mirror) == Some(identity::uid(pod)))?;
        Some((key, identity::uid(&mirror).to_owned(), mirror.status.clone()))
    }
}

fn is_ready(status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// A pod that is gone, or whose name belongs to another by now, needs no status any more.
fn forgive(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other,
    }
}

fn patch(uid: &str, before: Option<&PodStatus>, status: &PodStatus) -> Value {
    let mut wanted = json!(status);
    if let Value::Object(fields) = &mut wanted {
        // These lists are merged by address; an address that went away must not stay.
        for (field, changed) in [
            ("podIPs", before.and_then(|before| before.pod_ips.clone()) != status.pod_ips),
            ("hostIPs", before.and_then(|before| before.host_ips.clone()) != status.host_ips),
        ] {
            if let (true, Some(Value::Array(list))) = (changed, fields.get_mut(field)) {
                list.insert(0, json!({"$patch": "replace"}));
            }
        }
        for field in ["reason", "message"] {
            fields.entry(field).or_insert(Value::Null);
        }
    }
    json!({"metadata": {"uid": uid}, "status": wanted})
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::api::core::v1::PodIP;

    use super::*;

    #[test]
    fn a_patch_names_the_pod_and_replaces_addresses_only_when_they_change() {
        let with = |ip: &str| PodStatus {
            pod_ips: Some(vec![PodIP { ip: ip.to_owned() }]),
            phase: Some("Running".to_owned()),
            ..PodStatus::default()
        };
        let same = patch("u", Some(&with("10.0.0.1")), &with("10.0.0.1"));
        assert_eq!(same["metadata"]["uid"], "u");
        assert_eq!(same["status"]["podIPs"], json!([{"ip": "10.0.0.1"}]));
        assert_eq!(same["status"]["reason"], Value::Null);
        let other = patch("u", Some(&with("10.0.0.1")), &with("10.0.0.2"));
        assert_eq!(other["status"]["podIPs"], json!([{"$patch": "replace"}, {"ip": "10.0.0.2"}]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_somebody_else_called_unready_is_called_ready_again() {
        let api = controller_runtime::fake::FakeApi::new();
        let path = "/api/v1/namespaces/d/pods/a";
        let ready = |status: &str| json!({"phase": "Running", "conditions": [{"type": "Ready", "status": status}]});
        let object = |status: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "d", "uid": "u"}, "spec": {"containers": []}, "status": ready(status)});
        api.put(path, object("False"));
        let token = CancellationToken::new();
        let pods = controller_runtime::Informer::<Pod>::new(Api::all(api.client())).start(token.clone());
        pods.synced().await;
        let (updates, receiver) = mpsc::unbounded_channel();
        tokio::spawn(StatusWriter::new(api.client(), pods.clone()).run(receiver, token.clone()));
        let pod: Pod = serde_json::from_value(object("False")).unwrap();
        let status: PodStatus = serde_json::from_value(ready("True")).unwrap();
        updates.send(StatusUpdate { pod: std::sync::Arc::new(pod), status, gone: false }).unwrap();
        let told = || api.get(path).unwrap()["status"]["conditions"][0]["status"] == "True";
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(told());
        api.put(path, object("False"));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(told(), "the kubelet says it again");
        token.cancel();
    }
}
