//! What is done: bindings, conditions and events, written in the background.

use std::sync::Arc;

use controller_runtime::{EventType, Recorder};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;

use crate::pod::PodInfo;
use crate::scheduler::{Binder, News};

/// How many requests are under way at once: enough to keep a connection busy, few enough to stay fair.
const AT_ONCE: usize = 64;

/// Writes to the API server.
#[derive(Clone)]
pub struct ApiBinder {
    client: Client,
    recorder: Recorder,
    news: UnboundedSender<News>,
    permits: Arc<Semaphore>,
}

impl ApiBinder {
    /// A binder that tells failures to `news`.
    pub fn new(client: Client, recorder: Recorder, news: UnboundedSender<News>) -> Self {
        Self { client, recorder, news, permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    fn api(&self, pod: &PodInfo) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace)
    }

    async fn write_binding(&self, pod: &PodInfo, node: &str) -> Result<(), kube::Error> {
        let body = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            // With the identity, so that a namesake made meanwhile is not bound by mistake.
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let api = self.api(pod);
        let parameters = PostParams::default();
        let answer: Result<serde_json::Value, _> =
            api.create_subresource("binding", &pod.name, &parameters, &body).await;
        answer.map(drop)
    }

    async fn write_condition(&self, pod: &PodInfo, why: &str) -> Result<(), kube::Error> {
        let conditions = pod.pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let Some(condition) = condition(conditions, why) else { return Ok(()) };
        let patch = json!({"status": {"conditions": [condition]}});
        let api = self.api(pod);
        api.patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(&patch)).await.map(drop)
    }
}

impl Binder for ApiBinder {
    fn bind(&self, pod: &Arc<PodInfo>, node: &str) {
        let (own, pod, node) = (self.clone(), Arc::clone(pod), node.to_owned());
        tokio::spawn(async move {
            let Ok(_permit) = own.permits.acquire().await else { return };
            let about = pod.pod.object_ref(&());
            match own.write_binding(&pod, &node).await {
                Ok(()) => {
                    tracing::debug!(pod = %format_args!("{}/{}", pod.namespace, pod.name), node, "bound");
                    let text = format!("Successfully assigned {}/{} to {node}", pod.namespace, pod.name);
                    own.recorder.event(&about, EventType::Normal, "Scheduled", text);
                }
                Err(error) => {
                    tracing::warn!(pod = %format_args!("{}/{}", pod.namespace, pod.name), node, %error, "binding failed");
                    let text = format!("binding rejected: {error}");
                    own.recorder.event(&about, EventType::Warning, "FailedScheduling", text);
                    // The receiver ends only with the program.
                    let _ = own.news.send(News::BindingFailed { uid: pod.uid.clone() });
                }
            }
        });
    }

    fn report(&self, pod: &Arc<PodInfo>, why: &str) {
        self.recorder.event(&pod.pod.object_ref(&()), EventType::Warning, "FailedScheduling", why);
        let (own, pod, why) = (self.clone(), Arc::clone(pod), why.to_owned());
        tokio::spawn(async move {
            let Ok(_permit) = own.permits.acquire().await else { return };
            if let Err(error) = own.write_condition(&pod, &why).await {
                tracing::debug!(pod = %format_args!("{}/{}", pod.namespace, pod.name), %error, "condition not written");
            }
        });
    }
}

/// The condition to write; `None` if it is there already.
fn condition(existing: &[PodCondition], why: &str) -> Option<serde_json::Value> {
    let old = existing.iter().find(|c| c.type_ == "PodScheduled");
    let same_status = old.filter(|c| c.status == "False");
    if same_status.is_some_and(|c| c.message.as_deref() == Some(why) && c.reason.as_deref() == Some("Unschedulable")) {
        return None;
    }
    let since = same_status.and_then(|c| c.last_transition_time.as_ref()).map_or_else(Timestamp::now, |t| t.0);
    let since = since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    Some(json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": why,
        "lastProbeTime": null,
        "lastTransitionTime": since,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn existing(message: &str) -> PodCondition {
        serde_json::from_value(json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"}))
        .unwrap()
    }

    #[test]
    fn the_same_condition_is_not_written_again() {
        assert_eq!(condition(&[existing("full")], "full"), None);
    }

    #[test]
    fn another_message_keeps_the_time_of_the_transition() {
        let written = condition(&[existing("full")], "fuller").unwrap();
        assert_eq!(written["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(written["message"], "fuller");
    }
}
