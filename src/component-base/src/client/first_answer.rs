//! Until some server has answered: nobody asks too often, and nobody sleeps for long.
//!
//! While a cluster starts every program asks for servers that are not there yet, or that say 503 because theirs is not
//! either, with the advice to come back in a second. One request at a time then knocks for all the loops of a program,
//! so that many knock no oftener than one does, and a small machine is not kept from its start by asking whether it has
//! started; the first answer lets all of them go.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use kube::client::Body;
use kube::client::retry::RetryPolicy;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::BoxError;
use tower::retry::Policy;

use super::servers::Servers;

/// Between the beginnings of two requests.
const PACE: Duration = Duration::from_millis(100);
/// Between two servers of one request that both refuse.
pub(super) const STEP: Duration = Duration::from_millis(50);
/// A request that is not answered for so long is no reason for others to wait.
const LEAD: Duration = Duration::from_secs(2);
/// How many times a server that starts may say "not now" over one connection before another is tried.
const STAY: u32 = 3;
/// Between two servers that are left because they say "not now": when all of them are overloaded, handshakes are what
/// they can do without.
const MOVE: Duration = Duration::from_secs(1);
/// The longest rest of a request that a server could not answer yet.
const REST: Duration = Duration::from_millis(100);
/// How often one request is repeated before its caller hears of it.
const TRIES: u32 = 6;

/// Whether some server has answered yet.
pub(super) struct FirstAnswer {
    came: watch::Sender<bool>,
    last: Mutex<Knock>,
    refusals: AtomicU32,
    moved: Mutex<Option<Instant>>,
}

/// The request that knocked last.
struct Knock {
    began: Instant,
    ended: CancellationToken,
}

impl FirstAnswer {
    pub(super) fn awaited() -> Self {
        let ended = CancellationToken::new();
        ended.cancel();
        let now = Instant::now();
        let last = Mutex::new(Knock { began: now.checked_sub(PACE).unwrap_or(now), ended });
        Self { came: watch::Sender::new(false), last, refusals: AtomicU32::new(0), moved: Mutex::new(None) }
    }

    pub(super) fn came(&self) -> bool {
        *self.came.borrow()
    }

    /// Takes note of an answer; one that says "not now" is none.
    pub(super) fn note(&self, status: StatusCode) {
        if !says_later(status) && !status.is_server_error() {
            self.came.send_if_modified(|came| !std::mem::replace(came, true));
        }
    }

    /// Whether a server that says "not now" is to be left for another: seldom, for every new connection costs a handshake.
    pub(super) fn may_move(&self) -> bool {
        if !self.came() {
            return self.refusals.fetch_add(1, Ordering::Relaxed) % STAY == STAY - 1;
        }
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let may = moved.is_none_or(|moved| moved.elapsed() >= MOVE);
        if may {
            *moved = Some(Instant::now());
        }
        may
    }

    /// Waits for one's turn, which ends when the guard goes; after the first answer everybody may go.
    pub(super) async fn turn(&self) -> Option<DropGuard> {
        let mut came = self.came.subscribe();
        if self.came() {
            return None;
        }
        tokio::select! {
            guard = self.knock() => Some(guard),
            // The sender lives as long as this.
            _ = came.wait_for(|came| *came) => None,
        }
    }

    /// Nothing is held while waiting: a loop may well let one request lie while it makes another, and whoever is not
    /// polled must keep nobody from the door.
    async fn knock(&self) -> DropGuard {
        loop {
            let (began, ended) = match self.try_knock() {
                Ok(guard) => return guard,
                Err(before) => before,
            };
            // Whether it has ended or takes too long is the same to those who wait.
            let _ = timeout_at(began + LEAD, ended.cancelled()).await;
            sleep_until(began + PACE).await;
        }
    }

    /// Takes one's turn, or tells who is before.
    fn try_knock(&self) -> Result<DropGuard, (Instant, CancellationToken)> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now < last.began + if last.ended.is_cancelled() { PACE } else { LEAD } {
            return Err((last.began, last.ended.clone()));
        }
        let ended = CancellationToken::new();
        *last = Knock { began: now, ended: ended.clone() };
        Ok(ended.drop_guard())
    }
}

fn says_later(status: StatusCode) -> bool {
    [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT].contains(&status)
}

/// When a request is repeated: as `usual`, which heeds the server's advice, but soon while servers start.
#[derive(Clone)]
pub(super) struct Retries {
    usual: RetryPolicy,
    servers: Arc<Servers>,
    tries: u32,
}

impl Retries {
    pub(super) fn new(usual: RetryPolicy, servers: Arc<Servers>) -> Self {
        Self { usual, servers, tries: 0 }
    }
}

impl<Res> Policy<Request<Body>, Response<Res>, BoxError> for Retries {
    type Future = Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<Res>, BoxError>,
    ) -> Option<Self::Future> {
        if self.servers.first_answer.came() {
            return self.usual.retry(request, result);
        }
        let starting = result.as_ref().is_ok_and(|response| says_later(response.status()));
        if !starting || self.tries == TRIES {
            return None;
        }
        self.tries += 1;
        Some(tokio::time::sleep(REST.mul_f64(1.0 - rand::random::<f64>() / 2.0)))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Policy::<Request<Body>, Response<Res>, BoxError>::clone_request(&mut self.usual, request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable() -> Response<()> {
        let response = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).header("Retry-After", "1");
        response.body(()).unwrap()
    }

    #[tokio::test]
    async fn the_advice_of_a_server_that_starts_is_not_heeded_before_the_first_answer() {
        let servers = Arc::new(Servers::none());
        let mut retries = Retries::new(super::super::retries(), Arc::clone(&servers));
        let mut rest = || {
            let sleep = retries.retry(&mut Request::new(Body::empty()), &mut Ok(unavailable()))?;
            Some(sleep.deadline())
        };
        for _ in 0..TRIES {
            assert!(rest().unwrap() <= Instant::now() + REST);
        }
        assert_eq!(rest(), None, "the caller hears of it in the end");
        servers.first_answer.note(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(rest(), None, "that is no answer");
        servers.first_answer.note(StatusCode::OK);
        let before = Instant::now();
        assert!(rest().unwrap() >= before + Duration::from_secs(1), "a server that is there knows best");
    }

    #[tokio::test]
    async fn until_the_first_answer_one_request_knocks_for_all() {
        let first = Arc::new(FirstAnswer::awaited());
        let begin = Instant::now();
        let guard = first.turn().await.expect("there was no answer yet");
        let second = tokio::spawn({
            let first = Arc::clone(&first);
            async move { (first.turn().await, Instant::now()) }
        });
        tokio::time::sleep(PACE * 2).await;
        assert!(!second.is_finished(), "the first one is still at the door");
        drop(guard);
        let (second, went) = second.await.unwrap();
        drop(second);
        let third = first.turn().await;
        assert!(went.elapsed() >= PACE, "not sooner than the pace allows");
        assert!(third.is_some() && begin.elapsed() >= PACE * 3);
    }

    #[tokio::test]
    async fn a_request_that_is_not_answered_holds_nobody_up_for_long() {
        let first = FirstAnswer::awaited();
        let held = first.turn().await;
        assert!(first.turn().await.is_some());
        drop(held);
    }

    #[tokio::test]
    async fn a_request_that_nobody_polls_keeps_nobody_from_the_door() {
        let first = FirstAnswer::awaited();
        let held = first.turn().await;
        let mut waiting = Box::pin(first.turn());
        assert!(futures::poll!(&mut waiting).is_pending(), "it waits at the door, and is not asked again");
        drop(held);
        let other = tokio::time::timeout(LEAD * 2, first.turn()).await.expect("the door is free");
        drop((other, waiting));
    }

    #[tokio::test]
    async fn the_first_answer_lets_everybody_go() {
        let first = Arc::new(FirstAnswer::awaited());
        let held = first.turn().await;
        let waiting: Vec<_> = (0..1000)
            .map(|_| {
                let first = Arc::clone(&first);
                tokio::spawn(async move { first.turn().await.is_none() })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        first.note(StatusCode::FORBIDDEN);
        for waiting in waiting {
            assert!(waiting.await.unwrap(), "nobody has to knock any more");
        }
        drop(held);
    }

    #[test]
    fn while_all_servers_start_one_is_not_left_at_every_answer() {
        let first = FirstAnswer::awaited();
        let moves: Vec<bool> = (0..STAY * 2).map(|_| first.may_move()).collect();
        assert_eq!(moves, [false, false, true, false, false, true], "it may be the fault of that one");
        first.note(StatusCode::OK);
        assert!(first.may_move() && !first.may_move(), "at once, and then not for a while");
    }
}
