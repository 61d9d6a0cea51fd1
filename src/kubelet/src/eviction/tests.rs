//! A node with a fake runtime that runs short.

use cri::fake::FakeRuntime;
use serde_json::json;

use super::*;
use crate::config::file::KubeletConfiguration;
use crate::image_gc::ImageLimits;
use crate::testing::{self, TestNode};

struct Bench {
    runtime: Arc<FakeRuntime>,
    test: TestNode,
    evictor: Evictor,
    watched: Watched,
    _folder: tempfile::TempDir,
}

fn bench() -> Bench {
    let runtime = Arc::new(FakeRuntime::new());
    runtime.add_image("img:1");
    let folder = tempfile::tempdir().unwrap();
    let test = testing::node(runtime.clone(), folder.path());
    let limits = ImageLimits::of(&KubeletConfiguration::default()).unwrap();
    let evictor = Evictor {
        node: test.node.clone(),
        pods: Pods::new(test.node.clone()),
        images: Arc::new(ImageCollector::new(test.node.clone(), limits)),
        settings: EvictionSettings::of(&KubeletConfiguration::default()).unwrap(),
        pressure: watch::channel(Pressure::new()).0,
    };
    Bench { runtime, test, evictor, watched: Watched::default(), _folder: folder }
}

impl Bench {
    /// Runs a pod that uses some memory.
    async fn run(&mut self, uid: &str, bytes: u64) {
        let mut pod = crate::pod::sandbox::tests::pod(json!({"containers": [{"name": "c", "image": "img:1"}]}));
        pod.metadata.uid = Some(uid.to_owned());
        pod.metadata.name = Some(uid.to_owned());
        self.runtime.use_memory(uid, bytes);
        self.evictor.pods.apply(Arc::new(pod));
        self.until(uid, |status| status.phase.as_deref() == Some("Running") || status.container_statuses.is_some())
            .await;
        self.until_running(uid).await;
    }

    async fn until(&mut self, uid: &str, test: impl Fn(&k8s_openapi::api::core::v1::PodStatus) -> bool) {
        while let Some(update) = self.test.statuses.recv().await {
            if identity::uid(&update.pod) == uid && test(&update.status) {
                return;
            }
        }
    }

    async fn until_running(&self, uid: &str) {
        while !self.evictor.running().await.unwrap().contains_key(uid) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.evictor.pods.wake(uid);
        }
    }

    async fn pass(&mut self, free: i64) -> Option<String> {
        let measured: Measured = [(Signal::Memory, (free, 1 << 30))].into();
        let victim = self.evictor.pass(&mut self.watched, &measured, None).await.unwrap();
        victim.map(|pod| identity::uid(&pod).to_owned())
    }
}

#[tokio::test(start_paused = true)]
async fn one_pod_at_a_time_goes_until_there_is_enough() {
    let mut bench = bench();
    bench.run("small", 1 << 20).await;
    bench.run("large", 2 << 20).await;
    assert_eq!(bench.pass(200 << 20).await, None);
    assert_eq!(bench.pass(50 << 20).await.as_deref(), Some("large"));
    assert_eq!(*bench.evictor.pressure.borrow(), [Shortage::Memory]);
    bench.until("large", |status| status.reason.as_deref() == Some("Evicted")).await;
    while bench.evictor.running().await.unwrap().contains_key("large") {
        tokio::time::sleep(Duration::from_millis(10)).await;
        bench.evictor.pods.wake("large");
    }
    assert_eq!(bench.pass(200 << 20).await, None, "it gave back enough");
    assert_eq!(bench.pass(50 << 20).await.as_deref(), Some("small"));
    assert_eq!(bench.test.events.told("Evicted"), 2);
    assert_eq!(bench.pass(50 << 20).await, None, "there is nobody left, or the last one has not ended yet");
}

#[tokio::test(start_paused = true)]
async fn full_disks_are_told_and_cost_unused_images_first() {
    let mut bench = bench();
    bench.runtime.add_image("old:1");
    bench.run("used", 0).await;
    let full: Measured = [(Signal::ImageDisk, (1, 1000))].into();
    // Young images stay.
    assert!(bench.evictor.pass(&mut bench.watched, &full, None).await.unwrap().is_some());
    assert_eq!(*bench.evictor.pressure.borrow(), [Shortage::Disk]);
    tokio::time::advance(Duration::from_mins(3)).await;
    let _ = bench.evictor.pass(&mut bench.watched, &full, None).await.unwrap();
    assert!(bench.runtime.calls().iter().any(|call| call == "remove_image sha256:old:1"));
    assert!(!bench.runtime.calls().iter().any(|call| call == "remove_image sha256:img:1"), "it is in use");
}

#[test]
fn what_a_folder_holds_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("a")).unwrap();
    std::fs::write(folder.path().join("a/b"), vec![1; 10_000]).unwrap();
    let (bytes, files) = content(folder.path());
    assert!(bytes >= 10_000, "{bytes}");
    assert_eq!((files, content(Path::new("/nowhere"))), (2, (0, 0)));
}
