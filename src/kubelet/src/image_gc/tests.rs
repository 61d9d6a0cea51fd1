use cri::api::{ContainerConfig, ImageSpec, PodSandboxConfig};
use cri::fake::FakeRuntime;
use cri::{Images, Runtime};

use super::*;
use crate::testing::{self, TestNode};

const FULL: Fill = Fill { size: 100, free: 10 };

struct Bench {
    runtime: Arc<FakeRuntime>,
    test: TestNode,
    collector: ImageCollector,
    _folder: tempfile::TempDir,
}

/// Limits that leave no doubt: above 85 of 100 bytes images of one byte each go, down to 80.
fn bench(images: &[&str], limits: impl FnOnce(&mut ImageLimits)) -> Bench {
    let runtime = Arc::new(FakeRuntime::new());
    for name in images {
        runtime.add_image(name);
    }
    let folder = tempfile::tempdir().unwrap();
    let test = testing::node(runtime.clone(), folder.path());
    let mut own = ImageLimits::of(&KubeletConfiguration::default()).unwrap();
    limits(&mut own);
    let collector = ImageCollector::new(test.node.clone(), own);
    Bench { runtime, test, collector, _folder: folder }
}

impl Bench {
    async fn left(&self) -> Vec<String> {
        self.runtime.list_images().await.unwrap().into_iter().map(|image| image.repo_tags[0].clone()).collect()
    }

    /// A container that runs an image, by name or by id.
    async fn occupy(&self, image: &str) {
        let sandbox = self.runtime.run_pod_sandbox(PodSandboxConfig::default(), String::new()).await.unwrap();
        let image = Some(ImageSpec { image: image.to_owned(), ..Default::default() });
        let config = ContainerConfig { image, ..Default::default() };
        self.runtime.create_container(sandbox, config, PodSandboxConfig::default()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_system_with_room_keeps_every_image() {
    let bench = bench(&["a", "b"], |limits| limits.least_age = Duration::ZERO);
    bench.collector.pass(Fill { size: 100, free: 16 }).await.unwrap();
    assert_eq!(bench.left().await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn young_images_stay_and_those_unused_for_longest_go_first() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let bench = bench(&names, |_| {});
    bench.collector.pass(FULL).await.unwrap();
    assert_eq!(bench.left().await.len(), names.len(), "nobody knows yet how old they are");
    assert_eq!(bench.test.events.told("FreeDiskSpaceFailed"), 1);
    tokio::time::advance(Duration::from_mins(3)).await;
    bench.occupy("a").await;
    bench.occupy("sha256:b").await;
    bench.collector.pass(FULL).await.unwrap();
    // Ten bytes have to go, and there are ten images that nobody uses.
    assert_eq!(bench.left().await, ["a", "b"]);
    assert_eq!(bench.test.events.told("FreeDiskSpaceFailed"), 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_goes_than_has_to() {
    let bench = bench(&["a", "b", "c", "d", "e", "f", "g", "h"], |limits| limits.least_age = Duration::ZERO);
    bench.collector.pass(Fill { size: 100, free: 14 }).await.unwrap();
    assert_eq!(bench.left().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_fetched_again_stays() {
    let bench = bench(&["a"], |limits| limits.least_age = Duration::ZERO);
    bench.runtime.import_image("imported");
    bench.collector.remove_unused().await.unwrap();
    assert_eq!(bench.left().await, ["imported"]);
}

#[tokio::test(start_paused = true)]
async fn images_unused_for_too_long_go_whatever_room_there_is() {
    let bench = bench(&["a", "b"], |limits| limits.most_age = Some(Duration::from_hours(1)));
    let room = Fill { size: 100, free: 90 };
    bench.occupy("a").await;
    bench.collector.pass(room).await.unwrap();
    tokio::time::advance(Duration::from_hours(2)).await;
    bench.collector.pass(room).await.unwrap();
    assert_eq!(bench.left().await, ["a"]);
}

#[test]
fn thresholds_are_upstreams_and_wrong_ones_name_their_field() {
    let limits = ImageLimits::of(&KubeletConfiguration::default()).unwrap();
    assert_eq!((limits.high, limits.low, limits.least_age, limits.most_age), (85, 80, Duration::from_mins(2), None));
    let with = |high, low| KubeletConfiguration {
        image_gc_high_threshold_percent: high,
        image_gc_low_threshold_percent: low,
        ..KubeletConfiguration::default()
    };
    assert!(ImageLimits::of(&with(Some(101), None)).unwrap_err().contains("imageGCHighThresholdPercent"));
    assert!(ImageLimits::of(&with(Some(50), None)).unwrap_err().contains("imageGCLowThresholdPercent"));
}
