//! Until some server has answered: nobody asks too often, and nobody sleeps for long.
//!
//! While a cluster starts every program asks for servers that are not there yet, or that say 503 because theirs is not
//! either, with the advice to come back in a second. Each request then waits for its turn, so that a program with many
//! loops knocks no oftener than one with a single loop; the first answer lets all of them go.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use kube::client::Body;
use kube::client::retry::RetryPolicy;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tower::BoxError;
use tower::retry::Policy;

use super::servers::Servers;

/// Between the beginnings of two requests.
const PACE: Duration = Duration::from_millis(50);
/// The longest rest of a request that a server could not answer yet.
const REST: Duration = Duration::from_millis(100);
/// How often one request is repeated before its caller hears of it.
const TRIES: u32 = 6;

/// Whether some server has answered yet.
pub(super) struct FirstAnswer {
    came: watch::Sender<bool>,
    next: Mutex<Instant>,
}

impl FirstAnswer {
    pub(super) fn awaited() -> Self {
        Self { came: watch::Sender::new(false), next: Mutex::new(Instant::now()) }
    }

    fn came(&self) -> bool {
        *self.came.borrow()
    }

    /// Takes note of an answer; one that says "not now" is none.
    pub(super) fn note(&self, status: StatusCode) {
        if !says_later(status) && !status.is_server_error() {
            self.came.send_if_modified(|came| !std::mem::replace(came, true));
        }
    }

    /// Waits for one's turn; after the first answer everybody may go.
    pub(super) async fn turn(&self) {
        let mut came = self.came.subscribe();
        if self.came() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep_until(self.slot()) => {}
            // The sender lives as long as this.
            _ = came.wait_for(|came| *came) => {}
        }
    }

    fn slot(&self) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = (*next).max(Instant::now());
        *next = slot + PACE;
        slot
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
    async fn until_the_first_answer_requests_begin_one_after_another() {
        let first = FirstAnswer::awaited();
        let slots: Vec<Instant> = (0..5).map(|_| first.slot()).collect();
        assert!(slots[0] <= Instant::now(), "the first one goes at once");
        assert!(slots.windows(2).all(|pair| pair[1] - pair[0] >= PACE));
    }

    #[tokio::test]
    async fn the_first_answer_lets_everybody_go() {
        let first = Arc::new(FirstAnswer::awaited());
        // Minutes of others before this one.
        for _ in 0..10_000 {
            first.slot();
        }
        let waiting = tokio::spawn({
            let first = Arc::clone(&first);
            async move { first.turn().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        first.note(StatusCode::FORBIDDEN);
        waiting.await.unwrap();
        first.turn().await;
    }
}
