//! The connections of a program: one for everything, as long as there is room.
//!
//! A server lets a connection of HTTP/2 have so many requests open, and those beyond would wait: behind hundreds of
//! watches, which do not end, for ever. Long before that a further connection is made. A new client certificate needs a
//! new one too; the old one then ends with its watches.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kube::client::Body;

use super::connector::{Connector, Stamps};

/// Requests of one connection; upstream's server lets it have 250, and others 100 (RFC 9113, section 6.5.2).
pub(super) const SEATS: usize = 90;
/// What may be on its way in one connection before its readers take it, as in Go: a watch that nobody reads for a moment
/// must not hold up those that share the connection.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// The same for one answer.
const STREAM_WINDOW: u32 = 4 << 20;
/// Connections kept for the next request, of servers that do not know HTTP/2.
const IDLE: usize = 4;

/// All connections with one identity.
pub(super) struct Wires {
    connector: Connector,
    made: Mutex<Made>,
}

struct Made {
    /// With which files.
    stamps: Stamps,
    wires: Vec<Wire>,
}

/// One connection, once it is there.
struct Wire {
    client: Client<Connector, Body>,
    /// Each seat that is taken holds a clone.
    seat: Seat,
}

/// The right to have a request open.
pub(super) type Seat = Arc<()>;

impl Wires {
    pub(super) fn new(connector: Connector) -> Self {
        let made = Mutex::new(Made { stamps: connector.stamps(), wires: Vec::new() });
        Self { connector, made }
    }

    /// A connection with room, and a seat in it.
    pub(super) fn seat(&self) -> (Client<Connector, Body>, Seat) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.connector.stamps();
        if made.stamps != stamps {
            *made = Made { stamps, wires: Vec::new() };
        }
        // The first one stays, whether or not it is in use.
        let mut first = true;
        made.wires.retain(|wire| std::mem::take(&mut first) || wire.taken() > 0);
        let room = made.wires.iter().position(|wire| wire.taken() < SEATS);
        let index = room.unwrap_or_else(|| {
            made.wires.push(Wire::new(self.connector.clone()));
            made.wires.len() - 1
        });
        let wire = &made.wires[index];
        (wire.client.clone(), Arc::clone(&wire.seat))
    }
}

impl Wire {
    fn new(connector: Connector) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            // Whoever watches asks seldom, and is to ask over the connection of the watch.
            .pool_idle_timeout(None)
            .pool_max_idle_per_host(IDLE)
            .build(connector);
        Self { client, seat: Seat::default() }
    }

    fn taken(&self) -> usize {
        Arc::strong_count(&self.seat) - 1
    }
}

/// The body of an answer, which has its seat until it ends.
pub(super) struct Seated {
    body: Incoming,
    seat: Option<Seat>,
}

impl Seated {
    pub(super) fn new(body: Incoming, seat: Seat) -> Self {
        let seat = (!body.is_end_stream()).then_some(seat);
        Self { body, seat }
    }
}

impl http_body::Body for Seated {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let seated = self.get_mut();
        let polled = Pin::new(&mut seated.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            seated.seat = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
