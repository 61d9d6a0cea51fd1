//! Elections between candidates on one server in memory, on paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;

use super::*;
use crate::fake::FakeApi;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/test";

fn candidate(api: &FakeApi, identity: &str) -> LeaderElector {
    LeaderElector::new(api.client(), "kube-system", "test", identity)
}

fn holder_of(api: &FakeApi) -> String {
    api.get(LEASE)
        .map(|lease| lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
        .unwrap_or_default()
}

async fn lead(elector: LeaderElector, token: CancellationToken) -> Result<(), LeaderError> {
    elector.run(token, |stop| async move { stop.cancelled().await }).await
}

#[tokio::test(start_paused = true)]
async fn the_first_candidate_leads_and_releases_at_the_end() {
    let api = FakeApi::new();
    let token = CancellationToken::new();
    let task = tokio::spawn(lead(candidate(&api, "one"), token.clone()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(holder_of(&api), "one");
    token.cancel();
    assert_eq!(task.await.unwrap(), Ok(()));
    assert_eq!(holder_of(&api), "");
}

#[tokio::test(start_paused = true)]
async fn a_second_candidate_waits_and_follows_a_release_soon() {
    let api = FakeApi::new();
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let one = tokio::spawn(lead(candidate(&api, "one"), first.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _two = tokio::spawn(lead(candidate(&api, "two"), second.clone()));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(holder_of(&api), "one");
    first.cancel();
    one.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(holder_of(&api), "two", "a release is heard of, not looked for");
    assert_eq!(api.get(LEASE).unwrap()["spec"]["leaseTransitions"], 2 - 1);
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_dead_leader_is_taken_after_its_duration() {
    let api = FakeApi::new();
    let dead = tokio::spawn(lead(candidate(&api, "dead"), CancellationToken::new()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    dead.abort();
    let _two = tokio::spawn(lead(candidate(&api, "two"), CancellationToken::new()));
    tokio::time::sleep(Duration::from_secs(13)).await;
    assert_eq!(holder_of(&api), "dead");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(holder_of(&api), "two");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_others_may_start() {
    let api = FakeApi::new();
    let task = tokio::spawn(lead(candidate(&api, "one"), CancellationToken::new()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..100 {
        api.fail_next(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let start = Instant::now();
    assert_eq!(task.await.unwrap(), Err(LeaderError::Lost { name: "test".to_owned() }));
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_failed_renewal_is_forgiven() {
    let api = FakeApi::new();
    let token = CancellationToken::new();
    let task = tokio::spawn(lead(candidate(&api, "one"), token.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    api.fail_next(StatusCode::INTERNAL_SERVER_ERROR);
    tokio::time::sleep(Duration::from_secs(20)).await;
    token.cancel();
    assert_eq!(task.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_never_answered_leaves_time_for_another() {
    let api = FakeApi::new();
    let token = CancellationToken::new();
    let task = tokio::spawn(lead(candidate(&api, "one"), token.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..5 {
        api.hang_next(1);
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    assert_eq!(holder_of(&api), "one");
    token.cancel();
    assert_eq!(task.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_candidate_goes_on_when_its_first_request_is_never_answered() {
    let api = FakeApi::new();
    api.hang_next(1);
    let _task = tokio::spawn(lead(candidate(&api, "one"), CancellationToken::new()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(holder_of(&api), "one");
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_waits_watches_instead_of_asking() {
    let api = FakeApi::new();
    let _one = tokio::spawn(lead(candidate(&api, "one"), CancellationToken::new()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = reads(&api);
    let _two = tokio::spawn(lead(candidate(&api, "two"), CancellationToken::new()));
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(reads(&api) - before <= 4, "{:?}", api.requests());
    assert_eq!(holder_of(&api), "one");
}

fn reads(api: &FakeApi) -> usize {
    api.requests().iter().filter(|request| request.starts_with("GET")).count()
}

#[tokio::test(start_paused = true)]
async fn two_of_many_candidates_never_act_at_once_whatever_fails() {
    let api = FakeApi::new();
    let acting = Arc::new(AtomicUsize::new(0));
    let turns = Arc::new(AtomicUsize::new(0));
    for round in 0..6 {
        for number in 0..3 {
            let (elector, acting, turns) =
                (candidate(&api, &format!("{round}-{number}")), Arc::clone(&acting), Arc::clone(&turns));
            tokio::spawn(act(elector, acting, turns));
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        // A server that fails for longer than a leader can hold out ends its turn.
        api.set_down(true);
        tokio::time::sleep(Duration::from_secs(20)).await;
        api.set_down(false);
        tokio::time::sleep(Duration::from_secs(40)).await;
    }
    assert!(turns.load(Ordering::SeqCst) >= 3, "leaders changed");
}

async fn act(elector: LeaderElector, acting: Arc<AtomicUsize>, turns: Arc<AtomicUsize>) {
    let work = |stop: CancellationToken| async move {
        let _turn = Turn::take(&acting);
        turns.fetch_add(1, Ordering::SeqCst);
        stop.cancelled().await;
    };
    // Losing is what this is about.
    let _ = elector.run(CancellationToken::new(), work).await;
}

/// One who acts; dropped with the work.
struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn take(acting: &Arc<AtomicUsize>) -> Self {
        assert_eq!(acting.fetch_add(1, Ordering::SeqCst), 0, "two act at once");
        Self(Arc::clone(acting))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_leader_begins_as_soon_as_the_server_answers() {
    // As on emulated machines.
    let times = LeaseTimes {
        lease_duration: Duration::from_mins(1),
        renew_deadline: Duration::from_secs(40),
        retry_period: Duration::from_secs(5),
    };
    let api = FakeApi::new();
    api.set_down(true);
    let _task = tokio::spawn(lead(candidate(&api, "one").times(times), CancellationToken::new()));
    tokio::time::sleep(Duration::from_secs(30)).await;
    api.set_down(false);
    tokio::time::sleep(Duration::from_millis(101)).await;
    assert_eq!(holder_of(&api), "one");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_removed_is_taken_at_once() {
    let api = FakeApi::new();
    let dead = tokio::spawn(lead(candidate(&api, "dead"), CancellationToken::new()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    dead.abort();
    let _two = tokio::spawn(lead(candidate(&api, "two"), CancellationToken::new()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    api.remove(LEASE);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(holder_of(&api), "two");
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_may_not_watch_looks_no_oftener_than_the_retry_period_asks() {
    let api = FakeApi::new();
    let _one = tokio::spawn(lead(candidate(&api, "one"), CancellationToken::new()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    api.refuse_watches(true);
    let before = reads(&api);
    let _two = tokio::spawn(lead(candidate(&api, "two"), CancellationToken::new()));
    tokio::time::sleep(Duration::from_secs(100)).await;
    let reads = reads(&api) - before;
    assert!((50..350).contains(&reads), "{reads}");
}
