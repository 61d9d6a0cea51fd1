//! From changes of containers to the pods they belong to.
//!
//! The runtime tells of changes as they happen. Runtimes that cannot (before containerd 1.7) are looked at every
//! second; the others too, but seldom, because an event may be lost when either side restarts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cri::api::ContainerEventResponse;
use cri::{CriError, Runtime};
use futures::StreamExt;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::pod::identity;
use crate::pods::Pods;

/// How often to look where the runtime tells nothing.
const WITHOUT_EVENTS: Duration = Duration::from_secs(1);
/// The first look after events began; the time doubles from look to look.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How often to look in the long run where the runtime tells everything.
const WITH_EVENTS: Duration = Duration::from_mins(1);
/// The rest before the stream of events is opened again.
const REST: Duration = Duration::from_secs(1);

/// Wakes pods when their containers change.
pub struct RuntimeEvents {
    /// The runtime.
    pub runtime: Arc<dyn Runtime>,
    /// The pods to wake.
    pub pods: Arc<Pods>,
    /// Tells the uid of each changed pod to whoever else wants to know.
    pub changed: broadcast::Sender<String>,
}

/// The state of each container and sandbox, by id.
type Picture = HashMap<String, (String, i32)>;

impl RuntimeEvents {
    /// Runs until the token is cancelled.
    pub async fn run(self, token: CancellationToken) {
        tokio::select! {
            () = token.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let mut picture = self.look().await.unwrap_or_default();
        loop {
            self.pods.wake_all();
            let mut pause = FIRST_LOOK;
            let listening = self.listen();
            tokio::pin!(listening);
            let ended = loop {
                tokio::select! {
                    ended = &mut listening => break ended,
                    () = tokio::time::sleep(pause) => {
                        pause = (pause * 2).min(WITH_EVENTS);
                        self.compare(&mut picture).await;
                    }
                }
            };
            match ended {
                CriError::Unsupported { .. } => return self.poll(picture).await,
                error => tracing::warn!(%error, "the runtime's events ended"),
            }
            tokio::time::sleep(REST).await;
        }
    }

    async fn listen(&self) -> CriError {
        let mut events = match self.runtime.events().await {
            Ok(events) => events,
            Err(error) => return error,
        };
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.tell(&event),
                Err(error) => return error,
            }
        }
        CriError::Unreachable { message: "the stream ended".to_owned() }
    }

    fn tell(&self, event: &ContainerEventResponse) {
        let metadata = event.pod_sandbox_status.as_ref().and_then(|status| status.metadata.as_ref());
        match metadata {
            Some(metadata) => self.wake(&metadata.uid),
            // The sandbox is gone already; somebody must look.
            None => self.pods.wake_all(),
        }
    }

    fn wake(&self, uid: &str) {
        self.pods.wake(uid);
        // Nobody listening is fine.
        let _ = self.changed.send(uid.to_owned());
    }

    async fn poll(&self, mut picture: Picture) {
        tracing::info!("the runtime does not tell of changes; it is looked at every second");
        loop {
            tokio::time::sleep(WITHOUT_EVENTS).await;
            self.compare(&mut picture).await;
        }
    }

    async fn compare(&self, picture: &mut Picture) {
        let Ok(now) = self.look().await else { return };
        for (id, (uid, state)) in &now {
            if picture.get(id).is_none_or(|(_, before)| before != state) {
                self.wake(uid);
            }
        }
        for (_, (uid, _)) in picture.iter().filter(|(id, _)| !now.contains_key(*id)) {
            self.wake(uid);
        }
        *picture = now;
    }

    async fn look(&self) -> Result<Picture, CriError> {
        let (sandboxes, containers) = futures::try_join!(
            self.runtime.list_pod_sandboxes(cri::Labels::new()),
            self.runtime.list_containers(cri::Labels::new())
        )?;
        let uid = |labels: &HashMap<String, String>| labels.get(identity::POD_UID).cloned();
        let sandboxes =
            sandboxes.into_iter().filter_map(|sandbox| Some((sandbox.id, (uid(&sandbox.labels)?, sandbox.state))));
        let containers = containers
            .into_iter()
            .filter_map(|container| Some((container.id, (uid(&container.labels)?, container.state))));
        Ok(sandboxes.chain(containers).collect())
    }
}
