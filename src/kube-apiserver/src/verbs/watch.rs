//! Follows a collection: what is there (if asked for), then every change, until a timeout or until the client leaves.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apimachinery::Status;
use bytes::Bytes;
use component_base::serving::stay_open;
use http::StatusCode;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use rand::RngExt;
use storage::{CacheEvent, Delivery, Since, Watcher};
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::Call;
use super::list;
use super::page::{self, From};
use super::selection::Selection;
use crate::error;
use crate::metrics::Watching;
use crate::negotiate::{self, Encoding, Form};
use crate::reply::{self, BoxError, Response};
use crate::stored::Stored;

mod batch;
mod frame;

use batch::Batch;
use frame::{Framer, Kind};

/// Events that wait are sent together up to this size.
const BATCH: usize = 32 * 1024;

/// What a watch begins with.
struct Start {
    since: Since,
    /// Objects to be shown first.
    initial: Vec<Arc<Stored>>,
    /// The revision told after the first objects, if the client asked for that mark.
    mark: Option<i64>,
}

pub(super) async fn run(call: &Call<'_>) -> Result<Response, Status> {
    let form = negotiate::accept_stream(call.headers)?;
    let query = &call.info.query;
    let selection = Selection::parse(call.resource, query)?;
    let store = call.store()?;
    let framer = Framer::new(call.resource, form, query);
    let start = start(call, &selection).await?;
    let folder = selection.folder(store, &call.info.namespace);
    let watcher = match store.cacher.watch(&folder, start.since) {
        Ok(watcher) => watcher,
        Err(expired) => {
            let Since::Revision(asked) = start.since else {
                return Err(Status::too_many_requests("storage is (re)initializing", 1));
            };
            let status = Status::expired(format!("too old resource version: {asked} ({})", expired.oldest));
            let body = reply::full(framer.error(&status));
            return Ok(reply::respond(StatusCode::OK, media_type(form), body));
        }
    };
    let body = WatchBody {
        initial: start.initial.into_iter(),
        mark: start.mark,
        watcher,
        framer,
        selection,
        bookmarks: query.flag("allowWatchBookmarks"),
        end: Box::pin(tokio::time::sleep(lifetime(call)?)),
        stop: Box::pin(call.app.token.clone().cancelled_owned()),
        counted: call.app.metrics.watching(call.info),
        told: 0,
    };
    Ok(reply::respond(StatusCode::OK, media_type(form), body.boxed()))
}

fn media_type(form: Form) -> &'static str {
    match form.encoding {
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        _ => reply::JSON,
    }
}

/// How long a watch lives: what the client asks for, else a random while, so that not all come back at once.
fn lifetime(call: &Call<'_>) -> Result<Duration, Status> {
    let seconds = match call.info.query.get("timeoutSeconds").filter(|text| !text.is_empty()) {
        Some(text) => {
            text.parse::<u64>().map_err(|_| Status::bad_request(format!("timeoutSeconds: invalid value {text:?}")))?
        }
        None => 0,
    };
    if seconds > 0 {
        return Ok(Duration::from_secs(seconds));
    }
    let least = call.app.config.limits.min_request_timeout;
    Ok(Duration::from_secs(least + rand::rng().random_range(0..=least)))
}

async fn start(call: &Call<'_>, selection: &Selection) -> Result<Start, Status> {
    let query = &call.info.query;
    let version = query.get("resourceVersion").unwrap_or_default();
    let matching = query.get("resourceVersionMatch").unwrap_or_default();
    let initial = match query.get("sendInitialEvents") {
        None | Some("") => None,
        Some(_) => Some(query.flag("sendInitialEvents")),
    };
    check(initial, matching, query.flag("allowWatchBookmarks"))?;
    let from = match version {
        "" => From::Newest,
        "0" => From::Any,
        version => From::NotOlderThan(page::revision(version)?),
    };
    let store = call.store()?;
    let wants_state = match (initial, &from) {
        (Some(wanted), _) => wanted,
        (None, From::NotOlderThan(_)) => false,
        (None, _) => true,
    };
    if let (false, From::NotOlderThan(revision)) = (wants_state, &from) {
        return Ok(Start { since: Since::Revision(*revision), initial: Vec::new(), mark: None });
    }
    let snapshot = list::snapshot(store, &from).await?;
    let since = Since::Revision(snapshot.revision);
    if !wants_state {
        return Ok(Start { since, initial: Vec::new(), mark: None });
    }
    let folder = selection.folder(store, &call.info.namespace);
    let range = snapshot.range(&folder).map_err(|error| error::from_read(&error))?;
    let objects = range.filter(|(_, object)| selection.matches(object));
    let objects = objects.map(|(_, object)| Arc::clone(object)).collect();
    Ok(Start { since, initial: objects, mark: initial.is_some().then_some(snapshot.revision) })
}

fn check(initial: Option<bool>, matching: &str, bookmarks: bool) -> Result<(), Status> {
    let wrong = match (initial, matching) {
        (Some(_), "NotOlderThan") if initial == Some(true) && !bookmarks => {
            "sendInitialEvents requires allowWatchBookmarks to be set"
        }
        (Some(_), "NotOlderThan") | (None, "") => return Ok(()),
        (Some(_), "") => {
            "resourceVersionMatch: Required value: sendInitialEvents requires setting \
                          resourceVersionMatch to NotOlderThan"
        }
        (Some(_), _) => "resourceVersionMatch: Unsupported value: sendInitialEvents requires NotOlderThan",
        (None, _) => "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
    };
    Err(Status::failure(422, "Invalid", format!("ListOptions.meta.k8s.io \"\" is invalid: {wrong}")))
}

/// The body of a watch: pulls events when the connection has room for them.
struct WatchBody {
    initial: std::vec::IntoIter<Arc<Stored>>,
    mark: Option<i64>,
    watcher: Watcher<Stored>,
    framer: Framer,
    selection: Selection,
    bookmarks: bool,
    end: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    counted: Watching,
    /// Events of the piece that is being written.
    told: u64,
}

impl WatchBody {
    /// Writes as much of the state the watch begins with as goes out at once.
    fn begin(&mut self, batch: &mut Batch) {
        while batch.len() < BATCH {
            let Some(object) = self.initial.next() else {
                if let Some(revision) = self.mark.take() {
                    self.framer.initial_end(batch.buffer(), revision);
                }
                return;
            };
            self.told += 1;
            self.framer.event(batch.buffer(), Kind::Added, &object);
        }
    }

    /// Writes what an event means to this watcher; an object may come into or go out of its selection.
    fn write(&mut self, batch: &mut Batch, event: &Delivery<Stored>) {
        match &**event {
            CacheEvent::Put { new, old, .. } => {
                let was = old.as_ref().is_some_and(|old| self.selection.matches(old));
                match (was, self.selection.matches(new)) {
                    (false, true) => self.show(batch, Kind::Added, new, event),
                    (true, true) => self.show(batch, Kind::Modified, new, event),
                    (true, false) => {
                        let old = old.as_ref().unwrap_or(new);
                        self.told += 1;
                        self.framer.left(batch.buffer(), old, new.revision);
                    }
                    (false, false) => {}
                }
            }
            CacheEvent::Delete { old, .. } => {
                if self.selection.matches(old) {
                    self.show(batch, Kind::Deleted, old, event);
                }
            }
            CacheEvent::Bookmark { revision } => {
                if self.bookmarks {
                    self.framer.bookmark(batch.buffer(), *revision);
                }
            }
        }
    }

    fn show(&mut self, batch: &mut Batch, kind: Kind, object: &Stored, event: &Delivery<Stored>) {
        self.told += 1;
        match self.framer.shared(kind, object, event) {
            Some(frame) => batch.push(frame),
            None => self.framer.event(batch.buffer(), kind, object),
        }
    }
}

impl Body for WatchBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut batch = Batch::default();
        self.begin(&mut batch);
        while batch.len() < BATCH {
            let next = pin!(self.watcher.next_delivery()).poll(context);
            match next {
                Poll::Ready(Some(event)) => self.write(&mut batch, &event),
                Poll::Ready(None) if batch.is_empty() => return Poll::Ready(None),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if !batch.is_empty() {
            let told = std::mem::take(&mut self.told);
            self.counted.sent(told);
            return Poll::Ready(Some(Ok(Frame::data(batch.into_bytes()))));
        }
        let over = self.end.as_mut().poll(context).is_ready() || self.stop.as_mut().poll(context).is_ready();
        if over {
            return Poll::Ready(None);
        }
        stay_open();
        Poll::Pending
    }
}
