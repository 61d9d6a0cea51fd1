//! Images that nobody uses are removed when the file system that holds them fills up, those unused for longest first.
//!
//! What cannot be fetched again stays: pinned images, and images without a digest of a registry, which were brought to
//! the node by hand.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cri::CriError;
use cri::api::Image;
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::file::KubeletConfiguration;
use crate::node::facts;
use crate::node_context::NodeContext;

/// Between two looks at the file system, as upstream; nothing tells when it fills up.
const PERIOD: Duration = Duration::from_mins(5);

/// When images are removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLimits {
    /// The use of the file system, in percent, from which images are removed; 100 never.
    pub high: u8,
    /// The use to come down to.
    pub low: u8,
    /// Younger images stay.
    pub least_age: Duration,
    /// Images unused for longer go whatever the use.
    pub most_age: Option<Duration>,
}

impl ImageLimits {
    /// Reads `imageGCHighThresholdPercent` and its kin; the error names the field.
    pub fn of(file: &KubeletConfiguration) -> Result<Self, String> {
        let percent = |value: Option<i32>, default: u8, field: &str| match value {
            None => Ok(default),
            Some(value) => u8::try_from(value)
                .ok()
                .filter(|value| *value <= 100)
                .ok_or_else(|| format!("{field}: {value} is no percentage")),
        };
        let high = percent(file.image_gc_high_threshold_percent, 85, "imageGCHighThresholdPercent")?;
        let low = percent(file.image_gc_low_threshold_percent, 80, "imageGCLowThresholdPercent")?;
        if low >= high {
            return Err("imageGCLowThresholdPercent must be less than imageGCHighThresholdPercent".to_owned());
        }
        let age = |text: &Option<String>, default: Duration, field: &str| match text {
            None => Ok(default),
            Some(text) => component_base::flags::duration(text).map_err(|error| format!("{field}: {error}")),
        };
        let least_age = age(&file.image_minimum_gc_age, Duration::from_mins(2), "imageMinimumGCAge")?;
        let most_age = age(&file.image_maximum_gc_age, Duration::ZERO, "imageMaximumGCAge")?;
        Ok(Self { high, low, least_age, most_age: Some(most_age).filter(|age| !age.is_zero()) })
    }
}

/// What is known of an image.
#[derive(Debug, Clone, Copy)]
struct Record {
    seen: Instant,
    /// Before the first time, it counts as used when it was first seen.
    used: Instant,
}

/// Removes images.
pub struct ImageCollector {
    node: Arc<NodeContext>,
    limits: ImageLimits,
    records: Mutex<HashMap<String, Record>>,
}

/// What a file system holds, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Fill {
    /// All of it.
    pub size: i64,
    /// What is free.
    pub free: i64,
}

impl ImageCollector {
    /// Looks after the images of a node.
    pub fn new(node: Arc<NodeContext>, limits: ImageLimits) -> Self {
        Self { node, limits, records: Mutex::default() }
    }

    /// Removes images when needed, until the token is cancelled.
    pub async fn run(self: Arc<Self>, token: CancellationToken) {
        loop {
            match self.fill().await {
                Ok(fill) => {
                    if let Err(error) = self.pass(fill).await {
                        tracing::warn!(%error, "images were not looked after");
                    }
                }
                Err(error) => tracing::warn!(%error, "the use of the images' file system is not known"),
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    /// Where images lie.
    pub async fn mountpoint(&self) -> Result<PathBuf, CriError> {
        let usage = self.node.runtime.image_fs_info().await?;
        let found = usage.into_iter().find_map(|usage| usage.fs_id).map(|id| PathBuf::from(id.mountpoint));
        Ok(found.unwrap_or_else(|| PathBuf::from("/")))
    }

    async fn fill(&self) -> Result<Fill, CriError> {
        let free = facts::free(&self.mountpoint().await?);
        Ok(Fill { size: free.disk_size, free: free.disk })
    }

    /// One look: images too old go, and more if the file system is full.
    pub(crate) async fn pass(&self, fill: Fill) -> Result<(), CriError> {
        let mut unused = self.unused().await?;
        if let Some(most) = self.limits.most_age {
            let (old, rest): (Vec<_>, Vec<_>) =
                unused.into_iter().partition(|(_, record)| record.used.elapsed() > most);
            self.remove(old, i64::MAX).await;
            unused = rest;
        }
        let percent = |part: u8| i64::try_from(i128::from(fill.size) * i128::from(part) / 100).unwrap_or(i64::MAX);
        let used = fill.size - fill.free;
        if self.limits.high >= 100 || fill.size <= 0 || used < percent(self.limits.high) {
            return Ok(());
        }
        let surplus = used - percent(self.limits.low);
        tracing::info!(used, size = fill.size, surplus, "the images' file system is full");
        let freed = self.remove(unused, surplus).await;
        if freed < surplus {
            let message = format!(
                "Failed to garbage collect required amount of images. Attempted to free {surplus} bytes, but only found {freed} bytes eligible to free."
            );
            self.node.reporter.report(&self.about(), true, "FreeDiskSpaceFailed", &message);
        }
        Ok(())
    }

    /// Removes all images that nobody uses; answers the bytes that they held.
    pub async fn remove_unused(&self) -> Result<i64, CriError> {
        let unused = self.unused().await?;
        Ok(self.remove(unused, i64::MAX).await)
    }

    fn about(&self) -> ObjectReference {
        let name = Some(self.node.node_name.clone());
        ObjectReference { kind: Some("Node".to_owned()), uid: name.clone(), name, ..ObjectReference::default() }
    }

    /// The images that may go, those unused for longest first.
    async fn unused(&self) -> Result<Vec<(Image, Record)>, CriError> {
        let images = self.node.runtime.list_images().await?;
        let containers = self.node.runtime.list_containers(cri::Labels::new()).await?;
        let mut names = HashSet::new();
        for container in containers {
            names.extend(container.image.map(|image| image.image));
            names.insert(container.image_ref);
            names.insert(container.image_id);
        }
        let now = Instant::now();
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let present: HashSet<&String> = images.iter().map(|image| &image.id).collect();
        records.retain(|id, _| present.contains(id));
        let mut unused = Vec::new();
        for image in images {
            let record = records.entry(image.id.clone()).or_insert(Record { seen: now, used: now });
            let mut own = image.repo_tags.iter().chain(&image.repo_digests);
            if names.contains(&image.id) || own.any(|name| names.contains(name)) {
                record.used = now;
            } else if !image.pinned && !image.repo_digests.is_empty() && record.seen.elapsed() >= self.limits.least_age
            {
                unused.push((image, *record));
            }
        }
        unused.sort_by_key(|(_, record)| (record.used, record.seen));
        Ok(unused)
    }

    /// Removes images in order until enough is free; answers the bytes that they held.
    async fn remove(&self, images: Vec<(Image, Record)>, enough: i64) -> i64 {
        let mut freed: i64 = 0;
        for (image, _) in images {
            if freed >= enough {
                break;
            }
            match self.node.runtime.remove_image(image.id.clone()).await {
                Ok(()) => {
                    tracing::info!(image = image.id, names = ?image.repo_tags, size = image.size, "removed the image");
                    freed = freed.saturating_add(i64::try_from(image.size).unwrap_or(i64::MAX));
                }
                Err(error) => tracing::warn!(image = image.id, %error, "the image was not removed"),
            }
        }
        freed
    }
}

#[cfg(test)]
mod tests;
