//! A watch, event by event.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use reqwest::Method;
use serde_json::Value;

use crate::Caller;
use crate::api_server::PATIENCE;

/// An open watch in JSON.
pub struct EventStream {
    bytes: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    buffer: Vec<u8>,
}

impl EventStream {
    /// Opens a watch; `path` has `watch=1` in its query.
    pub async fn open(caller: &Caller, path: &str) -> Self {
        Self::open_as(caller, path, "application/json").await
    }

    /// [`EventStream::open`] with an `Accept` header.
    pub async fn open_as(caller: &Caller, path: &str, accept: &str) -> Self {
        let opened = caller.request(Method::GET, path).header("accept", accept).send().await;
        let response = opened.expect("the server answers");
        assert!(response.status().is_success(), "{path}: {}", response.status());
        Self::of(response)
    }

    /// The watch in a response.
    pub fn of(response: reqwest::Response) -> Self {
        let bytes = response.bytes_stream().map(|chunk| chunk.map(|chunk| chunk.to_vec())).boxed();
        Self { bytes, buffer: Vec::new() }
    }

    /// The next event; none when the server ends the watch or the connection breaks.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event is JSON"));
            }
            let chunk = tokio::time::timeout(PATIENCE, self.bytes.next()).await.expect("something happens");
            self.buffer.extend(chunk?.ok()?);
        }
    }

    /// The next event if it comes within `patience`.
    pub async fn next_within(&mut self, patience: Duration) -> Option<Value> {
        tokio::time::timeout(patience, self.next()).await.ok().flatten()
    }

    /// The object of the next event, which has to be of this type and about this name. Bookmarks are passed over.
    pub async fn expect(&mut self, kind: &str, name: &str) -> Value {
        loop {
            let event = self.next().await.expect("the watch goes on");
            if event["type"] == "BOOKMARK" && kind != "BOOKMARK" {
                continue;
            }
            let told = (&event["type"], &event["object"]["metadata"]["name"]);
            assert_eq!(told, (&kind.into(), &name.into()), "{event}");
            return event["object"].clone();
        }
    }

    /// Raw bytes as they come, for watches in other forms.
    pub async fn raw(&mut self, at_least: usize) -> Vec<u8> {
        while self.buffer.len() < at_least {
            let chunk = tokio::time::timeout(PATIENCE, self.bytes.next()).await.expect("something happens");
            let Some(Ok(chunk)) = chunk else { break };
            self.buffer.extend(chunk);
        }
        std::mem::take(&mut self.buffer)
    }
}
