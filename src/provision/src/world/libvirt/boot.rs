//! What machines boot: the node image, started without a boot loader, or a cloud image, which brings its own.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use libvirt::volume::{self, DiskFormat};
use topology::Topology;

use crate::image::packages::{self, PackageSpec};
use crate::image::{self, CloudImage, ContainerPrograms, ImageSpec};
use crate::machines::Kernel;
use crate::world::Report;

/// What a topology asks for.
pub(super) enum Boot {
    /// The node image.
    Node(ImageSpec),
    /// An image that somebody publishes; the software of a node comes as packages.
    Cloud(CloudImage),
}

/// What is at hand to boot.
pub(super) struct Base {
    /// Names its content.
    pub(super) id: String,
    /// The disk that machines get overlays over.
    pub(super) disk: PathBuf,
    /// Its format.
    pub(super) format: DiskFormat,
    /// What is started; the disk's own boot loader if absent.
    pub(super) kernel: Option<Kernel>,
}

impl Boot {
    pub(super) fn of(topology: &Topology) -> Self {
        let image = &topology.cluster().spec.image;
        if let Some(cloud) = &image.cloud {
            return Boot::Cloud(CloudImage { url: cloud.url.clone(), sha256: cloud.sha256.clone() });
        }
        let debian = image.debian.clone().unwrap_or_default();
        Boot::Node(ImageSpec { suite: debian.release, mirror: debian.mirror, ..ImageSpec::default() })
    }

    pub(super) fn is_cloud(&self) -> bool {
        matches!(self, Boot::Cloud(_))
    }

    /// Whether everything is at hand.
    pub(super) fn is_prepared(&self, cache_dir: &Path) -> bool {
        match self {
            Boot::Node(spec) => image::cached(spec, cache_dir).is_some(),
            Boot::Cloud(cloud) => {
                image::downloaded(cloud, cache_dir).is_some() && self.container_programs(cache_dir).is_some()
            }
        }
    }

    /// Builds or downloads.
    pub(super) async fn prepare(&self, cache_dir: &Path, report: Report<'_>) -> Result<()> {
        let listener = |progress| image::tell(progress, report);
        match self {
            Boot::Node(spec) => {
                image::build(spec, cache_dir, &listener).await.context("cannot build the node image")?;
            }
            Boot::Cloud(cloud) => {
                packages::fetch(&PackageSpec::default(), cache_dir, &listener)
                    .await
                    .context("cannot fetch the software of a node")?;
                image::fetch(cloud, cache_dir, &listener).await.context("cannot fetch the cloud image")?;
            }
        }
        Ok(())
    }

    /// What was prepared.
    pub(super) async fn base(&self, cache_dir: &Path) -> Result<Base> {
        match self {
            Boot::Node(spec) => {
                let image = image::cached(spec, cache_dir).context("the node image is not in the cache")?;
                let kernel = Some(Kernel::of(&image));
                Ok(Base { id: image.hash, disk: image.disk, format: DiskFormat::Raw, kernel })
            }
            Boot::Cloud(cloud) => {
                let disk = image::downloaded(cloud, cache_dir).context("the cloud image is not in the cache")?;
                let format = volume::detect_format(&disk).await?;
                Ok(Base { id: cloud.sha256[..16].to_owned(), disk, format, kernel: None })
            }
        }
    }

    pub(super) fn container_programs(&self, cache_dir: &Path) -> Option<ContainerPrograms> {
        match self {
            Boot::Node(spec) => image::cached(spec, cache_dir).as_ref().map(ContainerPrograms::from),
            Boot::Cloud(_) => {
                packages::cached(&PackageSpec::default(), cache_dir).as_ref().map(ContainerPrograms::from)
            }
        }
    }
}
