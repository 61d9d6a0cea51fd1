//! The logs of containers, from their files, and on as they grow.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::StreamExt;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use inotify::{Inotify, WatchMask};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::{broadcast, mpsc};

use super::{Body, Query, Server, text};
use crate::log_file::{LogOptions, Renderer, tail_offset};
use crate::pod::identity;
use crate::pod::observed::{self, Seen};

const CHUNK: usize = 32 * 1024;

/// Answers a request for a log of `(namespace, pod, container)`.
pub(super) async fn answer(
    server: &Server,
    (namespace, name, container): (&str, &str, &str),
    query: &Query,
) -> Response<Body> {
    let Some(pod) = server.pods.find(namespace, name) else {
        return text(StatusCode::NOT_FOUND, format!("pod {name:?} not found in namespace {namespace:?}"));
    };
    if identity::find_container(&pod, container).is_none() {
        return text(StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {name:?}"));
    }
    let options = match options(query, Timestamp::now()) {
        Ok(options) => options,
        Err(message) => return text(StatusCode::BAD_REQUEST, message),
    };
    let uid = identity::uid(&pod).to_owned();
    let folder = server.node.paths.pod_logs(&pod);
    let observed = match observed::observe(server.node.runtime.as_ref(), &uid, &folder).await {
        Ok(observed) => observed,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let previous = query.on(&["previous"]);
    let Some(seen) = (if previous { observed.previous(container) } else { observed.latest(container) }) else {
        let which = if previous { "previous terminated container" } else { "container" };
        let message = format!("{which} {container:?} in pod {name:?} is waiting to start: not found");
        return text(StatusCode::BAD_REQUEST, message);
    };
    let path = server.node.paths.container_log(&pod, container, seen.attempt());
    let follow = options.follow && seen.running();
    let source = Source {
        path,
        runtime: server.node.runtime.clone(),
        id: seen.status.id.clone(),
        uid,
        changed: server.changed.subscribe(),
    };
    stream(source, options, follow, seen)
}

fn stream(source: Source, options: LogOptions, follow: bool, seen: &Seen) -> Response<Body> {
    let file = match File::open(&source.path) {
        Ok(file) => file,
        Err(error) => {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("failed to open the log of {}: {error}", seen.name()),
            );
        }
    };
    let (sender, mut receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        if let Err(error) = source.copy(file, options, follow, &sender).await {
            tracing::debug!(%error, "a log was cut short");
        }
    });
    let frames = futures::stream::poll_fn(move |context| receiver.poll_recv(context))
        .map(|bytes: Vec<u8>| Ok(Frame::data(Bytes::from(bytes))));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn options(query: &Query, now: Timestamp) -> Result<LogOptions, String> {
    let number = |name: &str| -> Result<Option<usize>, String> {
        query.first(name).map(|text| text.parse().map_err(|_| format!("{name}: {text:?} is not a number"))).transpose()
    };
    let since_seconds = number("sinceSeconds")?.and_then(|seconds| i64::try_from(seconds).ok());
    let since_seconds = since_seconds.and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok());
    let since_time = query
        .first("sinceTime")
        .map(|text| text.parse::<Timestamp>().map_err(|_| format!("sinceTime: {text:?} is not a time")))
        .transpose()?;
    let stream = match query.first("stream") {
        Some("Stdout") => Some("stdout"),
        Some("Stderr") => Some("stderr"),
        _ => None,
    };
    Ok(LogOptions {
        follow: query.on(&["follow"]),
        tail: number("tailLines")?,
        since: since_seconds.or(since_time),
        timestamps: query.on(&["timestamps"]),
        limit_bytes: number("limitBytes")?,
        stream,
    })
}

/// A log and how to learn that nothing more will come.
struct Source {
    path: PathBuf,
    runtime: std::sync::Arc<dyn cri::Runtime>,
    id: String,
    uid: String,
    changed: broadcast::Receiver<String>,
}

impl Source {
    async fn copy(
        mut self,
        mut file: File,
        options: LogOptions,
        follow: bool,
        sender: &mpsc::Sender<Vec<u8>>,
    ) -> std::io::Result<()> {
        let offset = match options.tail {
            Some(lines) => tail_offset(&mut file, lines)?,
            None => 0,
        };
        file.seek(SeekFrom::Start(offset))?;
        let mut events = follow.then(|| watch(&self.path)).transpose()?;
        let mut renderer = Renderer::new(options);
        loop {
            // Asked before reading: what was written before the end is read after it.
            let over = !follow || !self.running().await;
            if !drain(&mut file, &mut renderer, sender).await? {
                return Ok(());
            }
            let Some(events) = events.as_mut().filter(|_| !over) else { return Ok(()) };
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => if self.rotated(&event?) {
                        // What was written before the old file was put aside is still in it.
                        if !drain(&mut file, &mut renderer, sender).await? {
                            return Ok(());
                        }
                        file = File::open(&self.path)?;
                    },
                    None => return Ok(()),
                },
                () = of_pod(&mut self.changed, &self.uid) => {}
                () = sender.closed() => return Ok(()),
            }
        }
    }

    async fn running(&self) -> bool {
        let status = self.runtime.container_status(self.id.clone()).await;
        status.is_ok_and(|status| status.state == cri::api::ContainerState::ContainerRunning as i32)
    }

    /// Whether the name belongs to a new file now.
    fn rotated(&self, event: &inotify::Event<std::ffi::OsString>) -> bool {
        event.name.as_deref() == self.path.file_name() && event.mask.contains(inotify::EventMask::CREATE)
    }
}

async fn of_pod(changed: &mut broadcast::Receiver<String>, uid: &str) {
    loop {
        match changed.recv().await {
            Ok(other) if other != uid => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            _ => return,
        }
    }
}

fn watch(path: &Path) -> std::io::Result<inotify::EventStream<Vec<u8>>> {
    let inotify = Inotify::init()?;
    inotify.watches().add(path.parent().unwrap_or(path), WatchMask::MODIFY | WatchMask::CREATE)?;
    inotify.into_event_stream(vec![0; 4096])
}

/// Sends what the file holds now; answers whether more is wanted.
async fn drain(file: &mut File, renderer: &mut Renderer, sender: &mpsc::Sender<Vec<u8>>) -> std::io::Result<bool> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return Ok(true);
        }
        let output = renderer.feed(&chunk[..length]);
        if !output.is_empty() && sender.send(output).await.is_err() || renderer.full() {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_become_options() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let read = |query: &str| options(&Query::parse(Some(query)), now);
        let found = read("follow=true&tailLines=5&sinceSeconds=60&timestamps=true&limitBytes=9").unwrap();
        assert!(found.follow && found.timestamps);
        assert_eq!(
            (found.tail, found.limit_bytes, found.since),
            (Some(5), Some(9), Some("2026-01-01T00:00:00Z".parse().unwrap()))
        );
        assert!(read("tailLines=x").is_err() && read("sinceTime=yesterday").is_err());
    }
}
