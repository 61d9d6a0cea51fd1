use super::{Course, FIRST_PAUSE, LONGEST_PAUSE, Usual, longest_pause};
use crate::testing::{EtcdCluster, fresh_prefix};
use crate::{CacheEvent, Cacher, DecodeError, Etcd, Since, StorageError};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long to wait for what takes a second or two on an idle machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Somebody who writes new keys one after the other and remembers which of them were acknowledged.
struct Writer {
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<BTreeSet<u64>>,
}

impl Writer {
    fn start(etcd: Etcd, prefix: String) -> Self {
        let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&acknowledged), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let mut sure = BTreeSet::new();
            for number in 0_u64.. {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                match etcd.create(&format!("{prefix}{number:08}"), Bytes::from(number.to_string()), None).await {
                    Ok(_) => {
                        sure.insert(number);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => assert!(error.is_transient(), "{error:?}"),
                }
            }
            sure
        });
        Self { acknowledged, stop, task }
    }

    /// Returns when this many more writes were acknowledged.
    async fn goes_on(&self, more: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + more;
        let reached = async {
            while self.acknowledged.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("writes go on");
    }

    async fn end(self) -> BTreeSet<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// What to do to the leader while writes and a watch go on; and what was lost by it.
async fn survive(disturb: impl AsyncFnOnce(&mut EtcdCluster, usize)) {
    let mut cluster = EtcdCluster::start().await;
    let etcd = cluster.connect().await;
    let prefix = fresh_prefix();
    let codec = |_: &str, value: Bytes, _: i64| Ok::<_, DecodeError>(String::from_utf8_lossy(&value).into_owned());
    let token = CancellationToken::new();
    let cache = Cacher::start(etcd.clone(), prefix.clone(), codec, token.clone());
    cache.ready().await;
    let mut watcher = cache.watch(&prefix, Since::Now).unwrap();
    let writer = Writer::start(etcd.clone(), prefix.clone());
    writer.goes_on(20).await;
    let leader = cluster.leader().await;
    disturb(&mut cluster, leader).await;
    writer.goes_on(20).await;
    let sure = writer.end().await;
    let mut stored = BTreeSet::new();
    let last = etcd.list_all(&prefix, 0, |kv| {
        stored.insert(String::from_utf8_lossy(&kv.value).parse::<u64>().unwrap());
    });
    last.await.unwrap();
    assert!(sure.is_subset(&stored), "an acknowledged write is gone");
    // The watch has told each of them once, in order.
    let mut told = Vec::new();
    while told.len() < stored.len() {
        match tokio::time::timeout(PATIENCE, watcher.next()).await.expect("the watch goes on").unwrap() {
            CacheEvent::Put { new, .. } => told.push(new.parse::<u64>().unwrap()),
            CacheEvent::Bookmark { .. } => {}
            CacheEvent::Delete { .. } => panic!("nothing was deleted"),
        }
    }
    assert!(told.is_sorted());
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), stored);
    token.cancel();
}

#[tokio::test]
async fn the_crash_of_the_leader_loses_no_acknowledged_write_and_no_event() {
    survive(async |cluster, leader| cluster.members[leader].kill()).await;
}

#[tokio::test]
async fn a_leader_that_hangs_is_left_for_another_member() {
    survive(async |cluster, leader| cluster.members[leader].pause()).await;
}

#[tokio::test]
async fn every_member_may_restart_in_its_turn() {
    survive(async |cluster, _| {
        for member in &mut cluster.members {
            member.restart().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_may_be_there_before_etcd() {
    let mut server = crate::testing::EtcdServer::start().await;
    server.kill();
    let mut config = crate::EtcdConfig::new([server.endpoint()]);
    config.request_timeout = Duration::from_millis(300);
    let impatient = Etcd::open(config.clone()).await.unwrap();
    let refused = impatient.is_healthy().await;
    assert!(matches!(refused, Err(StorageError::Unavailable(_))), "{refused:?}");
    config.request_timeout = PATIENCE;
    let patient = Etcd::open(config).await.unwrap();
    let waiting = tokio::spawn(async move { patient.create("/a", "x".into(), None).await });
    server.restart().await;
    waiting.await.unwrap().unwrap();
}

#[test]
fn pauses_before_the_first_answer_stay_within_a_tenth_of_a_second() {
    let longest = |answered: bool| {
        let mut course = Course {
            began_with: 0,
            began: tokio::time::Instant::now(),
            refused: false,
            next: 0,
            tries: 0,
            pause: FIRST_PAUSE,
            longest_pause: longest_pause(answered),
            unclear: false,
            failure: StorageError::Timeout,
        };
        let gone = || etcd_client::Error::GRpcStatus(tonic::Status::unavailable("etcdserver: no leader"));
        (0..10).for_each(|_| drop(course.after((0, gone()), true).map(|_| ())));
        course.pause
    };
    assert!(longest(false) <= Duration::from_millis(100));
    assert_eq!(longest(true), LONGEST_PAUSE);
}

#[test]
fn the_usual_time_follows_the_last_answers() {
    let usual = Usual::default();
    (0..100).for_each(|_| usual.take(Duration::from_secs(1)));
    assert!(usual.get() > Duration::from_millis(900) && usual.get() <= Duration::from_secs(1), "{usual:?}");
    (0..100).for_each(|_| usual.take(Duration::from_millis(1)));
    assert!(usual.get() < Duration::from_millis(5), "{usual:?}");
}
