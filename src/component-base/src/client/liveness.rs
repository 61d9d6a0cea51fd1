//! Whether a server that connections are open to still lives.
//!
//! A machine that is gone is noticed by TCP within seconds. A process that hangs is not: its system goes on
//! acknowledging what is sent, and watches and requests would wait for ever. So a server that has been silent for long,
//! or owes an answer, is asked for a sign of life on a connection of its own, once for all connections to it. Without
//! one they all end, and whoever used them turns to the next server. Who has nobody else to turn to goes on waiting.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long servers may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a word on any connection; more than the ten seconds between two heartbeats of a kubelet, which are a word.
    pub(super) silence: Duration,
    /// For the head of an answer.
    pub(super) answer: Duration,
    /// For a sign of life when asked for one.
    pub(super) probe: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        // client-go asks after 30 s and waits 15 s. Doubts that come too soon take a server that is merely busy for one
        // that hangs, and everybody's new handshakes then make sure that it stays busy.
        Self { silence: Duration::from_secs(20), answer: Duration::from_secs(10), probe: Duration::from_secs(10) }
    }
}

/// The servers that connections are open to.
#[derive(Default)]
pub(super) struct Peers(Mutex<HashMap<SocketAddr, Weak<Peer>>>);

/// One server, as long as a connection to it is open.
pub(super) struct Peer(Arc<Signs>);

/// What connections tell their guard, and the other way round.
pub(super) struct Signs {
    begin: Instant,
    /// Milliseconds from `begin` to the last word of the server.
    heard: AtomicU64,
    owes: Notify,
    /// The last connection is closed.
    over: CancellationToken,
    /// The server is given up.
    lost: CancellationToken,
}

/// Ties a connection to its server.
pub(super) struct Tie {
    peer: Arc<Peer>,
    lost: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Peers {
    /// The peer of an address; if it is new, also what its guard needs.
    pub(super) fn enter(&self, address: SocketAddr) -> (Arc<Peer>, Option<Arc<Signs>>) {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|_, peer| peer.strong_count() > 0);
        if let Some(peer) = peers.get(&address).and_then(Weak::upgrade).filter(|peer| !peer.0.lost.is_cancelled()) {
            peer.0.hear();
            return (peer, None);
        }
        let signs = Arc::new(Signs {
            begin: Instant::now(),
            heard: AtomicU64::new(0),
            owes: Notify::new(),
            over: CancellationToken::new(),
            lost: CancellationToken::new(),
        });
        let peer = Arc::new(Peer(Arc::clone(&signs)));
        peers.insert(address, Arc::downgrade(&peer));
        (peer, Some(signs))
    }

    /// Notes that a server owes an answer for longer than usual.
    pub(super) fn owes(&self, address: SocketAddr) {
        let peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(&address).and_then(Weak::upgrade) {
            peer.0.owes.notify_one();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.over.cancel();
    }
}

impl Signs {
    fn hear(&self) {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(now, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        self.begin.elapsed().saturating_sub(Duration::from_millis(self.heard.load(Ordering::Relaxed)))
    }

    /// Returns `true` when the server has to be given up, `false` when no connection is left.
    ///
    /// `probe` asks for a sign of life and says whether one came.
    pub(super) async fn guard<F: Future<Output = bool>>(&self, patience: Patience, probe: impl Fn() -> F) -> bool {
        loop {
            tokio::select! {
                () = self.over.cancelled() => return false,
                () = tokio::time::sleep(patience.silence.saturating_sub(self.silence())) => {}
                () = self.owes.notified() => {}
            }
            if self.silence() < patience.answer {
                continue;
            }
            let asked = Instant::now();
            let alive = tokio::select! {
                () = self.over.cancelled() => return false,
                answer = tokio::time::timeout(patience.probe, probe()) => answer == Ok(true),
            };
            // A server that is too busy for a new connection may still be at work on the old ones.
            if !alive && self.silence() >= asked.elapsed() {
                return true;
            }
            self.hear();
        }
    }

    /// Ends all connections.
    pub(super) fn give_up(&self) {
        self.lost.cancel();
    }
}

impl Tie {
    pub(super) fn new(peer: Arc<Peer>) -> Self {
        let lost = Box::pin(peer.0.lost.clone().cancelled_owned());
        Self { peer, lost }
    }

    /// Notes that something was read.
    pub(super) fn hear(&self) {
        self.peer.0.hear();
    }

    /// Ready with an error once the server is given up.
    pub(super) fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.lost.as_mut().poll(cx).map(|()| io::Error::new(io::ErrorKind::TimedOut, "the API server hangs"))
    }
}
