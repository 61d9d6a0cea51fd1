//! Events: telling users what was done and why.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;

/// Events that may wait to be sent; more are dropped, because telling must never hold back doing.
const WAITING: usize = 256;

/// Events remembered to be counted up instead of written anew.
const REMEMBERED: usize = 1024;

/// Whether an event is news or trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// News.
    Normal,
    /// Trouble.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

struct Note {
    about: ObjectReference,
    kind: EventType,
    reason: String,
    message: String,
    at: Timestamp,
}

/// Writes `v1` Events in the background; the same event again counts up the first one.
#[derive(Clone)]
pub struct Recorder {
    notes: mpsc::Sender<Note>,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// A recorder for a component (`kubelet`, `deployment-controller`) on a host (empty if that says nothing). Call
    /// inside a runtime.
    pub fn new(client: Client, component: &str, host: &str) -> Self {
        let (notes, waiting) = mpsc::channel(WAITING);
        let writer = Writer { client, component: component.to_owned(), host: host.to_owned(), written: HashMap::new() };
        tokio::spawn(writer.run(waiting));
        Self { notes, dropped: Arc::default() }
    }

    /// Tells something about an object (see `kube::Resource::object_ref`). Never waits.
    pub fn event(&self, about: &ObjectReference, kind: EventType, reason: &str, message: impl Into<String>) {
        let note = Note {
            about: about.clone(),
            kind,
            reason: reason.to_owned(),
            message: message.into(),
            at: Timestamp::now(),
        };
        if self.notes.try_send(note).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events were dropped because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// What makes two events the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Sameness {
    object: String,
    field: Option<String>,
    kind: EventType,
    reason: String,
    message: String,
}

struct Written {
    namespace: String,
    name: String,
    count: i32,
}

struct Writer {
    client: Client,
    component: String,
    host: String,
    written: HashMap<Sameness, Written>,
}

impl Writer {
    async fn run(mut self, mut notes: mpsc::Receiver<Note>) {
        while let Some(note) = notes.recv().await {
            if let Err(error) = self.write(&note).await {
                tracing::debug!(reason = note.reason, %error, "the event was not written");
            }
        }
    }

    async fn write(&mut self, note: &Note) -> Result<(), kube::Error> {
        let same = Sameness {
            object: note.about.uid.clone().or_else(|| note.about.name.clone()).unwrap_or_default(),
            field: note.about.field_path.clone(),
            kind: note.kind,
            reason: note.reason.clone(),
            message: note.message.clone(),
        };
        if let Some(written) = self.written.get_mut(&same) {
            let events: Api<Event> = Api::namespaced(self.client.clone(), &written.namespace);
            let patch = json!({"count": written.count + 1, "lastTimestamp": Time(note.at)});
            match events.patch(&written.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => {
                    written.count += 1;
                    return Ok(());
                }
                // It has outlived its time to live; write it anew.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let event = self.first(note);
        let written = Written {
            namespace: event.metadata.namespace.clone().unwrap_or_default(),
            name: event.metadata.name.clone().unwrap_or_default(),
            count: 1,
        };
        Api::namespaced(self.client.clone(), &written.namespace).create(&PostParams::default(), &event).await?;
        if self.written.len() >= REMEMBERED {
            self.written.clear();
        }
        self.written.insert(same, written);
        Ok(())
    }

    fn first(&self, note: &Note) -> Event {
        let namespace = note
            .about
            .namespace
            .clone()
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or_else(|| "default".to_owned());
        let object = note.about.name.as_deref().unwrap_or("unknown");
        let host = Some(self.host.clone()).filter(|host| !host.is_empty());
        Event {
            metadata: ObjectMeta {
                namespace: Some(namespace),
                name: Some(format!("{object}.{:x}", note.at.as_nanosecond())),
                ..ObjectMeta::default()
            },
            involved_object: note.about.clone(),
            reason: Some(note.reason.clone()),
            message: Some(note.message.clone()),
            type_: Some(note.kind.as_str().to_owned()),
            count: Some(1),
            first_timestamp: Some(Time(note.at)),
            last_timestamp: Some(Time(note.at)),
            source: Some(EventSource { component: Some(self.component.clone()), host: host.clone() }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: host,
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeApi;

    const EVENTS: &str = "/api/v1/namespaces/default/events";

    fn about(name: &str) -> ObjectReference {
        ObjectReference {
            kind: Some("Pod".into()),
            namespace: Some("default".into()),
            name: Some(name.into()),
            uid: Some(format!("uid-{name}")),
            ..ObjectReference::default()
        }
    }

    async fn wait_for(api: &FakeApi, requests: usize) {
        while api.requests().len() < requests {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_same_event_again_counts_up() {
        let api = FakeApi::new();
        let recorder = Recorder::new(api.client(), "tester", "host-a");
        for _ in 0..3 {
            recorder.event(&about("a"), EventType::Normal, "Started", "it runs");
        }
        recorder.event(&about("b"), EventType::Warning, "Failed", "it does not");
        wait_for(&api, 4).await;
        let names = api.names(EVENTS);
        assert_eq!(names.len(), 2);
        let first = api.get(&format!("{EVENTS}/{}", names[0])).unwrap();
        assert_eq!(first["count"], 3);
        assert_eq!(first["source"]["host"], "host-a");
        assert_eq!(first["involvedObject"]["name"], "a");
    }

    #[tokio::test]
    async fn an_event_that_has_expired_is_written_anew() {
        let api = FakeApi::new();
        let recorder = Recorder::new(api.client(), "tester", "");
        recorder.event(&about("a"), EventType::Normal, "Started", "it runs");
        wait_for(&api, 1).await;
        api.remove(&format!("{EVENTS}/{}", api.names(EVENTS)[0]));
        recorder.event(&about("a"), EventType::Normal, "Started", "it runs");
        wait_for(&api, 3).await;
        assert_eq!(api.names(EVENTS).len(), 1);
    }
}
