//! Clients that write at random, and clients that list and watch for ever.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use harness::{Answer, Caller, EventStream, core, try_answer};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::Play;
use super::check::Change;

/// The object that tells watchers that all is over.
pub(super) const LAST: &str = "last";
const OBJECTS: u32 = 6;
const PATIENCE: Duration = Duration::from_secs(5);

/// What a write was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Replace,
    Patch,
    Delete,
}

/// A write and what its client was told.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// What the write put into the object, different for each.
    pub(super) mark: String,
    /// The version an update was made from.
    pub(super) expected: Option<i64>,
    /// The object a delete was about.
    pub(super) uid: Option<String>,
    /// None if the connection broke or patience ended.
    pub(super) code: Option<u16>,
    pub(super) revision: Option<i64>,
}

/// What a watcher has seen.
#[derive(Debug)]
pub(super) enum Seen {
    /// Everything from a version on, until the watch ended.
    Segment { from: i64, events: Vec<(i64, Change)> },
    /// The watch could not go on where it stopped.
    Expired,
}

fn version(object: &Value) -> Option<i64> {
    object["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

async fn ask(request: RequestBuilder) -> Option<Answer> {
    tokio::time::timeout(PATIENCE, try_answer(request)).await.ok()?.ok()
}

/// Writes at random until the play is over.
pub(super) struct Writer {
    index: u64,
    dice: StdRng,
    caller: Caller,
    play: Arc<Play>,
    count: u64,
}

impl Writer {
    pub(super) fn new((index, seed): (u64, u64), caller: Caller, play: Arc<Play>) -> Self {
        Self { index, dice: StdRng::seed_from_u64(seed.wrapping_add(index)), caller, play, count: 0 }
    }

    pub(super) async fn run(mut self) {
        while !self.play.over.load(Ordering::SeqCst) {
            self.write().await;
            self.read().await;
            tokio::time::sleep(Duration::from_millis(self.dice.random_range(0..20))).await;
        }
    }

    /// A list shows whatever anybody was told before it was asked for.
    async fn read(&self) {
        let told = self.play.told.load(Ordering::SeqCst);
        let Some(list) = ask(self.caller.request(Method::GET, &core("configmaps"))).await else { return };
        if list.code == 200 {
            let shown = version(&list.body).expect("a list has a version");
            assert!(shown >= told, "a list at {shown} came after somebody was told of {told}");
        }
    }

    async fn write(&mut self) {
        self.count += 1;
        let name = format!("h{}", self.dice.random_range(0..OBJECTS));
        let mark = format!("{}-{}", self.index, self.count);
        let kind = match self.dice.random_range(0..10) {
            0..3 => Kind::Create,
            3..6 => Kind::Replace,
            6..9 => Kind::Patch,
            _ => Kind::Delete,
        };
        let (path, content) = (core(&format!("configmaps/{name}")), json!({"mark": mark}));
        let mut outcome = Outcome { kind, name, mark, expected: None, uid: None, code: None, revision: None };
        let request = match kind {
            Kind::Create => {
                let object = json!({"metadata": {"name": outcome.name}, "data": content});
                self.send(Method::POST, &core("configmaps"), "application/json", &object)
            }
            Kind::Patch => {
                let patch = json!({"data": content});
                self.send(Method::PATCH, &path, "application/merge-patch+json", &patch)
            }
            Kind::Replace | Kind::Delete => {
                let Some(found) = ask(self.caller.request(Method::GET, &path)).await else { return };
                if found.code != 200 {
                    return;
                }
                outcome.expected = version(&found.body);
                outcome.uid = found.body["metadata"]["uid"].as_str().map(str::to_owned);
                self.second_half(kind, &path, found.body, content)
            }
        };
        if let Some(answer) = ask(request).await {
            outcome.code = Some(answer.code);
            outcome.revision = version(&answer.body);
        }
        if let (Some(200..300), Some(revision)) = (outcome.code, outcome.revision) {
            self.play.told.fetch_max(revision, Ordering::SeqCst);
        }
        self.play.outcomes.lock().await.push(outcome);
    }

    fn second_half(&self, kind: Kind, path: &str, mut found: Value, content: Value) -> RequestBuilder {
        if kind == Kind::Delete {
            let options = json!({"preconditions": {"uid": found["metadata"]["uid"]}});
            return self.send(Method::DELETE, path, "application/json", &options);
        }
        found["data"] = content;
        self.send(Method::PUT, path, "application/json", &found)
    }

    fn send(&self, method: Method, path: &str, media: &str, body: &Value) -> RequestBuilder {
        self.caller.request(method, path).header("content-type", media).body(body.to_string())
    }
}

/// Lists and watches as informers do: from the last version on, and anew when that is gone.
pub(super) struct Watcher {
    caller: Caller,
    play: Arc<Play>,
}

impl Watcher {
    pub(super) fn new(caller: Caller, play: Arc<Play>) -> Self {
        Self { caller, play }
    }

    pub(super) async fn run(self) {
        loop {
            let Some(list) = ask(self.caller.request(Method::GET, &core("configmaps"))).await else { continue };
            if list.code != 200 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            if list.names().contains(&LAST) {
                return;
            }
            let mut from = version(&list.body).expect("a list has a version");
            while let Some((next, over)) = self.follow(from).await {
                if over {
                    return;
                }
                from = next;
            }
            self.play.seen.lock().await.push(Seen::Expired);
        }
    }

    /// Watches from a version on until the watch ends; the version reached, and whether all is over. None after a 410.
    async fn follow(&self, from: i64) -> Option<(i64, bool)> {
        let path =
            core(&format!("configmaps?watch=1&allowWatchBookmarks=true&timeoutSeconds=3&resourceVersion={from}"));
        let opened = tokio::time::timeout(PATIENCE, self.caller.request(Method::GET, &path).send()).await;
        let response = match opened {
            Ok(Ok(response)) if response.status().is_success() => response,
            Ok(Ok(response)) if response.status() == 410 => return None,
            _ => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                return Some((from, false));
            }
        };
        let (mut stream, mut events, mut reached) = (EventStream::of(response), Vec::new(), from);
        let mut expired = false;
        let mut over = false;
        while let Some(event) = stream.next_within(PATIENCE).await {
            if event["type"] == "ERROR" {
                expired = true;
                break;
            }
            let object = &event["object"];
            reached = version(object).expect("an event has a version").max(reached);
            if event["type"] == "BOOKMARK" {
                continue;
            }
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            over = over || name == LAST;
            let state = (event["type"] != "DELETED").then_some(object);
            events.push((version(object).unwrap_or_default(), Change::new(name, state)));
            if over {
                break;
            }
        }
        self.play.seen.lock().await.push(Seen::Segment { from, events });
        (!expired).then_some((reached, over))
    }
}
