//! Random writes by many, while etcd is killed, paused and compacted and the server crashes: whatever was said to be
//! done is in the history, once and in its place, and no watch leaves out, repeats or swaps anything.
//!
//! `HISTORY_SECONDS` makes it longer, `HISTORY_SEED` repeats a run.

mod check;
mod clients;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use harness::{ApiServer, PATIENCE, core};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use storage::{Etcd, WatchEvent};
use tokio::sync::Mutex;

use crate::server;
use check::{Change, History};
use clients::{Outcome, Seen, Watcher, Writer};

const WRITERS: u64 = 4;
const WATCHERS: usize = 3;
const PREFIX: &str = "/registry/configmaps/default/";
const FENCES: &str = "/registry/contract-fence/";

/// What all take part in.
#[derive(Default)]
struct Play {
    /// No more writes.
    over: AtomicBool,
    /// The newest version that anybody was told.
    told: AtomicI64,
    outcomes: Mutex<Vec<Outcome>>,
    seen: Mutex<Vec<Seen>>,
}

#[expect(clippy::disallowed_methods, reason = "the tests are told by their caller how long and from which seed")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_history_is_linear_whatever_breaks() {
    let seed = number("HISTORY_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let seconds = number("HISTORY_SECONDS").unwrap_or(20);
    println!("HISTORY_SEED={seed} HISTORY_SECONDS={seconds}");
    let mut server = server().await;
    let play = Arc::new(Play::default());
    let writers: Vec<_> = (0..WRITERS)
        .map(|index| tokio::spawn(Writer::new((index, seed), server.admin(), Arc::clone(&play)).run()))
        .collect();
    let watchers: Vec<_> =
        (0..WATCHERS).map(|_| tokio::spawn(Watcher::new(server.admin(), Arc::clone(&play)).run())).collect();
    let mut witness = Witness { history: History::default(), next: 1 };
    break_things(&mut server, &mut witness, (seed, Instant::now() + Duration::from_secs(seconds))).await;
    play.over.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    // One last write that every watcher has to see tells them that they may go.
    let last = serde_json::json!({"metadata": {"name": clients::LAST}});
    server.admin().create(&core("configmaps"), &last).await.ok();
    for watcher in watchers {
        tokio::time::timeout(PATIENCE, watcher).await.expect("every watcher recovers and sees the end").unwrap();
    }
    witness.catch_up(&server).await;
    let (outcomes, seen) = (play.outcomes.lock().await, play.seen.lock().await);
    check::check(&witness.history, &outcomes, &seen);
    let acknowledged = outcomes.iter().filter(|outcome| outcome.code.is_some_and(|code| code < 300)).count();
    let expired = seen.iter().filter(|seen| matches!(seen, Seen::Expired)).count();
    println!("{acknowledged} of {} writes acknowledged, {} watches, {expired} times 410", outcomes.len(), seen.len());
    assert!(acknowledged > 50, "too little happened to mean anything");
}

/// Kills, pauses and compacts until the time is over.
async fn break_things(server: &mut ApiServer, witness: &mut Witness, (seed, end): (u64, Instant)) {
    let mut dice = StdRng::seed_from_u64(seed ^ 0xdead);
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(dice.random_range(300..1500))).await;
        match dice.random_range(0..8) {
            0 => {
                server.etcd.kill();
                tokio::time::sleep(Duration::from_millis(dice.random_range(0..1500))).await;
                server.etcd.restart().await;
            }
            1 | 2 => {
                server.etcd.pause();
                tokio::time::sleep(Duration::from_millis(dice.random_range(100..2500))).await;
                server.etcd.resume();
            }
            // A server without a memory of its own, and no history for it to read: watchers get their 410.
            3 => {
                witness.compact(server).await;
                server.restart().await;
            }
            4 => server.restart().await,
            _ => witness.compact(server).await,
        }
    }
}

/// Reads etcd's own history before it is compacted away: the truth to hold everything against.
struct Witness {
    history: History,
    next: i64,
}

impl Witness {
    async fn compact(&mut self, server: &ApiServer) {
        let reached = self.catch_up(server).await;
        server.etcd.connect().await.compact(reached).await.expect("etcd compacts");
    }

    /// Takes in all changes up to now.
    async fn catch_up(&mut self, server: &ApiServer) -> i64 {
        let etcd: Etcd = server.etcd.connect().await;
        let now = etcd.current_revision().await.expect("etcd answers");
        // A key of our own, so that there is an event to wait for; it lies where no kind of the server does.
        let fence = format!("{FENCES}{now}");
        etcd.create(&fence, bytes::Bytes::from_static(b"{}"), None).await.expect("the fence is new");
        let mut watch = etcd.watch("/registry/", self.next).await.expect("etcd can be watched");
        loop {
            let batch = watch.next().await.expect("the history is there");
            for event in &batch.events {
                let (key, revision) = match event {
                    WatchEvent::Put(kv) => (&kv.key, kv.mod_revision),
                    WatchEvent::Delete { key, revision } => (key, *revision),
                };
                self.next = self.next.max(revision + 1);
                if *key == fence {
                    return revision;
                }
                if let Some(name) = key.strip_prefix(PREFIX) {
                    self.history.push(revision, change(name, event));
                }
            }
        }
    }
}

/// A change as etcd tells it.
fn change(name: &str, event: &WatchEvent) -> Change {
    let object = match event {
        WatchEvent::Put(kv) => Some(serde_json::from_slice(&kv.value).expect("the server writes JSON")),
        WatchEvent::Delete { .. } => None,
    };
    Change::new(name, object.as_ref())
}
