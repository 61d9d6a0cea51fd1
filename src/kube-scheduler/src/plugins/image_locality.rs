//! `ImageLocality`: nodes that already hold the images of a pod.

use crate::node::NodeInfo;
use crate::plugins::{Event, Judge, MAX_SCORE, Plugin};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

/// Below this many bytes a container an image is no reason.
const SMALL: i64 = 23 * 1024 * 1024;
/// From this many bytes a container on it is the best reason.
const LARGE: i64 = 1000 * 1024 * 1024;

pub(super) struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Box<dyn Judge + 'a>> {
        let spec = pod.spec()?;
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let images: Vec<String> = containers.filter_map(|c| c.image.as_deref()).map(normalized).collect();
        let total = i64::try_from(snapshot.nodes().len()).ok().filter(|n| *n > 0)?;
        let spread = images.iter().map(|image| {
            let holders = snapshot.nodes().iter().filter(|n| n.images.contains_key(image)).count();
            i64::try_from(holders).unwrap_or(0)
        });
        let images: Vec<(String, i64)> = spread.zip(images.iter().cloned()).map(|(s, i)| (i, s)).collect();
        images.iter().any(|(_, holders)| *holders > 0).then(|| Box::new(Holding { images, total }) as Box<dyn Judge>)
    }

    fn may_help(&self, _: &Event<'_>, _: &PodInfo) -> bool {
        false
    }
}

struct Holding {
    /// Images with the number of nodes that hold them.
    images: Vec<(String, i64)>,
    total: i64,
}

impl Judge for Holding {
    fn score(&self, node: &NodeInfo) -> i64 {
        // An image on few nodes counts less, or all its pods would gather there.
        let held =
            self.images.iter().filter_map(|(image, holders)| Some(node.images.get(image)? * holders / self.total));
        let limit = LARGE * i64::try_from(self.images.len()).unwrap_or(1);
        let sum = held.sum::<i64>().clamp(SMALL, limit.max(SMALL));
        MAX_SCORE * (sum - SMALL) / (limit - SMALL).max(1)
    }
}

/// The name with its tag, as runtimes list it.
fn normalized(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || last.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::snapshot::tests::{cluster, node, pod};

    #[test]
    fn a_large_image_on_the_node_is_a_reason() {
        let held = json!({"status": {"images": [{"names": ["web:1"], "sizeBytes": 600 * 1024 * 1024_i64}]}});
        let snapshot = cluster(&[node("n1", held), node("n2", json!({}))]);
        let pod = pod("p", json!({}));
        let judge = ImageLocality.prepare(&pod, &snapshot).unwrap();
        let scores: Vec<i64> = snapshot.nodes().iter().map(|n| judge.score(n)).collect();
        assert_eq!(scores, [28, 0]);
        assert_eq!(normalized("registry:5000/web"), "registry:5000/web:latest");
    }
}
