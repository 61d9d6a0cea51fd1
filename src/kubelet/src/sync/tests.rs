use std::sync::atomic::{AtomicUsize, Ordering};

use cri::fake::FakeRuntime;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::testing::{self, Events, TestNode};

/// A node with a fake runtime and one pod.
struct Bench {
    runtime: Arc<FakeRuntime>,
    events: Arc<Events>,
    node: Arc<NodeContext>,
    statuses: mpsc::UnboundedReceiver<StatusUpdate>,
    desired: watch::Sender<Desired>,
    wake: Arc<Notify>,
    network: watch::Sender<bool>,
    pressure: watch::Sender<crate::eviction::Pressure>,
    task: Option<tokio::task::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

fn bench(spec: serde_json::Value) -> Bench {
    let runtime = Arc::new(FakeRuntime::new());
    runtime.add_image("img:1");
    let folder = tempfile::tempdir().unwrap();
    let TestNode { node, events, statuses, network, pressure } = testing::node(runtime.clone(), folder.path());
    let pod = Arc::new(crate::pod::sandbox::tests::pod(spec));
    let (desired, _) = watch::channel(Desired::new(pod));
    let mut bench = Bench {
        runtime,
        events,
        node,
        statuses,
        desired,
        wake: Arc::default(),
        network,
        pressure,
        task: None,
        _folder: folder,
    };
    bench.start();
    bench
}

impl Bench {
    fn start(&mut self) {
        let pod = PodLoop::new(self.node.clone(), self.desired.borrow().clone(), self.wake.clone());
        self.task = Some(tokio::spawn(pod.run(self.desired.subscribe())));
        let (wake, mut events) = (self.wake.clone(), None);
        let runtime = self.runtime.clone();
        tokio::spawn(async move {
            use futures::StreamExt;
            let stream = events.get_or_insert(cri::Runtime::events(runtime.as_ref()).await.unwrap());
            while stream.next().await.is_some() {
                wake.notify_one();
            }
        });
    }

    /// The first status from now on that satisfies the test; the paused clock jumps over waits.
    async fn until(&mut self, what: &str, test: impl Fn(&PodStatus) -> bool) -> PodStatus {
        let found = async {
            while let Some(update) = self.statuses.recv().await {
                if test(&update.status) {
                    return update.status;
                }
            }
            panic!("the pod loop ended before {what}");
        };
        tokio::time::timeout(Duration::from_hours(2), found).await.unwrap_or_else(|_| panic!("never {what}"))
    }

    async fn until_phase(&mut self, phase: &str) -> PodStatus {
        self.until(phase, |status| status.phase.as_deref() == Some(phase)).await
    }

    fn delete(&self, grace: i64) {
        self.desired.send_modify(|desired| {
            let mut pod = (*desired.pod).clone();
            pod.metadata.deletion_timestamp = Some(Time(k8s_openapi::jiff::Timestamp::now()));
            pod.metadata.deletion_grace_period_seconds = Some(grace);
            desired.pod = Arc::new(pod);
        });
    }

    async fn ended(&mut self) {
        tokio::time::timeout(Duration::from_hours(1), self.task.take().unwrap()).await.unwrap().unwrap();
    }

    fn count(&self, call: &str) -> usize {
        self.runtime.calls().iter().filter(|entry| entry.starts_with(call)).count()
    }

    fn told(&self, reason: &str) -> usize {
        self.events.told(reason)
    }
}

fn waiting(status: &PodStatus) -> String {
    let container = &status.container_statuses.as_ref().unwrap()[0];
    container
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref())
        .and_then(|waiting| waiting.reason.clone())
        .unwrap_or_default()
}

fn ready(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[tokio::test(start_paused = true)]
async fn a_pod_runs_and_leaves_nothing_when_it_is_deleted() {
    let mut bench =
        bench(json!({"containers": [{"name": "a", "image": "img:1"}], "volumes": [{"name": "v", "emptyDir": {}}]}));
    let status = bench.until("ready", ready).await;
    assert_eq!(status.pod_ip.as_deref(), Some("10.244.0.1"));
    let folder = bench.node.paths.pod("u-1");
    assert!(folder.join("volumes/kubernetes.io~empty-dir/v").is_dir() && folder.join("etc-hosts").exists());
    bench.delete(30);
    bench.ended().await;
    assert!(bench.runtime.container_configs().is_empty() && bench.runtime.sandbox_configs().is_empty());
    assert!(!folder.exists());
    let mut last = None;
    while let Ok(update) = bench.statuses.try_recv() {
        last = Some(update);
    }
    let last = last.unwrap();
    assert!(last.gone && !ready(&last.status));
    assert_eq!((bench.told("Started"), bench.told("Killing")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_comes_back_later_and_later() {
    let mut bench = bench(json!({"containers": [{"name": "a", "image": "img:1"}]}));
    let begin = Instant::now();
    let mut waits = Vec::new();
    for attempt in 0..4 {
        bench
            .until("running", |status| {
                status.container_statuses.as_ref().is_some_and(|all| all[0].restart_count == attempt && all[0].ready)
            })
            .await;
        waits.push(begin.elapsed().as_secs());
        let id = bench.runtime.running("a").remove(0);
        bench.runtime.exit(&id, 1);
    }
    assert_eq!(waits, [0, 0, 10, 30]);
    let status = bench.until("crash loop", |status| waiting(status) == "CrashLoopBackOff").await;
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let kept = bench.runtime.container_configs().len();
    assert!(kept <= 2, "the last two runs are kept, not {kept}");
}

#[tokio::test(start_paused = true)]
async fn init_containers_come_first() {
    let mut bench = bench(json!({
        "initContainers": [{"name": "i", "image": "img:1"}],
        "containers": [{"name": "a", "image": "img:1"}],
    }));
    bench
        .until("initializing", |status| {
            status.init_container_statuses.as_ref().is_some_and(|all| all[0].state.as_ref().unwrap().running.is_some())
        })
        .await;
    assert!(bench.runtime.running("a").is_empty());
    let id = bench.runtime.running("i").remove(0);
    bench.runtime.exit(&id, 0);
    bench.until("ready", ready).await;
}

#[tokio::test(start_paused = true)]
async fn work_that_is_done_is_not_repeated() {
    let mut bench = bench(json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "img:1"}]}));
    bench.until("ready", ready).await;
    let id = bench.runtime.running("a").remove(0);
    bench.runtime.exit(&id, 0);
    bench.until_phase("Succeeded").await;
    bench.wake.notify_one();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((bench.count("run_pod_sandbox"), bench.count("create_container")), (1, 1));
    assert_eq!(bench.runtime.container_configs().len(), 1, "its log can still be read");
    bench.delete(0);
    bench.ended().await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_pulled_backs_off() {
    let mut bench = bench(json!({"containers": [{"name": "a", "image": "none:1"}]}));
    bench.until("failed", |status| waiting(status) == "ErrImagePull").await;
    bench.until("back-off", |status| waiting(status) == "ImagePullBackOff").await;
    bench.runtime.publish_image("none:1");
    bench.until("ready", ready).await;
    assert_eq!(bench.told("Pulling"), bench.count("pull_image"));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_kubelet_adopts_what_runs() {
    let mut bench = bench(json!({"containers": [{"name": "a", "image": "img:1"}]}));
    bench.until("ready", ready).await;
    bench.task.take().unwrap().abort();
    bench.start();
    bench.until("ready again", ready).await;
    assert_eq!(
        (bench.count("run_pod_sandbox"), bench.count("create_container"), bench.count("stop_container")),
        (1, 1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_sandbox_is_made_anew() {
    let mut bench = bench(json!({"containers": [{"name": "a", "image": "img:1"}]}));
    bench.until("ready", ready).await;
    let sandbox = bench.runtime.sandbox_configs()[0].0.clone();
    bench.runtime.kill_sandbox(&sandbox);
    bench.until("new address", |status| ready(status) && status.pod_ip.as_deref() == Some("10.244.0.2")).await;
}

#[tokio::test(start_paused = true)]
async fn pods_wait_for_the_network_and_static_ones_on_the_hosts_do_not() {
    let mut bench = bench(json!({"containers": [{"name": "a", "image": "img:1"}]}));
    bench.network.send_replace(false);
    bench.until_phase("Pending").await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(bench.count("run_pod_sandbox"), 0);
    bench.network.send_replace(true);
    bench.wake.notify_one();
    bench.until("ready", ready).await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_fails_for_good() {
    let mut bench =
        bench(json!({"containers": [{"name": "a", "image": "img:1", "resources": {"requests": {"cpu": "2"}}}]}));
    let status = bench.until_phase("Failed").await;
    assert_eq!(status.reason.as_deref(), Some("OutOfcpu"));
    assert_eq!(bench.count("run_pod_sandbox"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_liveness_probe_restarts_the_container() {
    let mut bench = bench(json!({"containers": [{
        "name": "a", "image": "img:1",
        "livenessProbe": {"exec": {"command": ["check"]}, "periodSeconds": 1, "failureThreshold": 2},
    }]}));
    let calls = Arc::new(AtomicUsize::new(0));
    bench.runtime.on_exec(move |_| cri::api::ExecSyncResponse {
        exit_code: i32::from(calls.fetch_add(1, Ordering::SeqCst) < 2),
        ..Default::default()
    });
    bench
        .until("restarted", |status| {
            status.container_statuses.as_ref().is_some_and(|all| all[0].restart_count == 1 && all[0].ready)
        })
        .await;
    assert_eq!(bench.told("Unhealthy"), 2);
    assert_eq!(bench.count("stop_container"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_log_is_put_aside_and_the_runtime_begins_a_new_one() {
    let mut bench = bench(json!({"containers": [{"name": "c", "image": "img:1"}]}));
    bench.until_phase("Running").await;
    let log = bench.node.paths.container_log(&bench.desired.borrow().pod, "c", 0);
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(&log, vec![b'x'; 100]).unwrap();
    crate::log_rotation::pass(&bench.node, 101, 2).await.unwrap();
    assert!(log.exists(), "not long enough");
    crate::log_rotation::pass(&bench.node, 100, 2).await.unwrap();
    assert!(!log.exists() && bench.runtime.calls().iter().any(|call| call.starts_with("reopen_container_log")));
    // A runtime that cannot begin a new one keeps writing to the old.
    std::fs::write(&log, vec![b'x'; 100]).unwrap();
    bench.runtime.fail("reopen_container_log", "no");
    crate::log_rotation::pass(&bench.node, 100, 2).await.unwrap();
    assert!(log.exists());
}

#[tokio::test(start_paused = true)]
async fn an_evicted_pod_fails_with_its_reason_and_is_not_started_again() {
    let mut bench = bench(json!({"containers": [{"name": "c", "image": "img:1"}]}));
    bench.until_phase("Running").await;
    let why = Waiting::new("Evicted", "The node was low on resource: memory. ");
    bench.desired.send_modify(|desired| desired.evicted = Some(crate::eviction::Eviction { why, grace: 1 }));
    let status = bench.until_phase("Failed").await;
    assert_eq!(status.reason.as_deref(), Some("Evicted"));
    assert!(status.message.unwrap().contains("low on resource: memory"));
    let conditions = status.conditions.unwrap();
    let target = conditions.iter().find(|condition| condition.type_ == "DisruptionTarget").unwrap();
    assert_eq!((target.status.as_str(), target.reason.as_deref()), ("True", Some("TerminationByKubelet")));
    bench.wake.notify_one();
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!((bench.count("create_container"), bench.runtime.running("c").len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_short_of_memory_takes_no_pod_that_asks_for_none() {
    let mut bench = bench(json!({"containers": [{"name": "c", "image": "img:1"}]}));
    bench.task.take().unwrap().abort();
    bench.pressure.send_replace(vec![crate::eviction::threshold::Shortage::Memory]);
    bench.start();
    let status = bench.until_phase("Failed").await;
    assert_eq!(status.message.as_deref(), Some("The node had condition: [MemoryPressure]. "));
    assert_eq!(bench.count("create_container"), 0);
}
