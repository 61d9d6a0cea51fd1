//! What machines boot: the node image, started without a boot loader, or a cloud image, which brings its own.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use libvirt::volume::{self, DiskFormat};

use crate::desired::{Components, Desired};
use crate::image::packages::{self, PackageSpec};
use crate::image::{self, CloudImage, ComponentDisk, ContainerPrograms, ImageSpec, NodeImage, component_disk};
use crate::machines::Kernel;
use crate::world::Report;

/// What a topology asks for.
pub(super) enum Boot {
    /// The node image.
    Node(ImageSpec, Components),
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
    /// What lies between it and the disks of new machines, with the components in place.
    pub(super) components: Option<ComponentDisk>,
    /// What is started; the disk's own boot loader if absent.
    pub(super) kernel: Option<Kernel>,
}

impl Boot {
    pub(super) fn of(desired: &Desired) -> Self {
        let image = &desired.topology.cluster().spec.image;
        if let Some(cloud) = &image.cloud {
            return Boot::Cloud(CloudImage { url: cloud.url.clone(), sha256: cloud.sha256.clone() });
        }
        let debian = image.debian.clone().unwrap_or_default();
        let spec = ImageSpec { suite: debian.release, mirror: debian.mirror, ..ImageSpec::default() };
        Boot::Node(spec, desired.components.clone())
    }

    pub(super) fn is_cloud(&self) -> bool {
        matches!(self, Boot::Cloud(_))
    }

    /// Whether everything is at hand.
    pub(super) fn is_prepared(&self, cache_dir: &Path) -> bool {
        match self {
            Boot::Node(spec, _) => image::cached(spec, cache_dir).is_some(),
            Boot::Cloud(cloud) => {
                image::downloaded(cloud, cache_dir).is_some() && self.container_programs(cache_dir).is_some()
            }
        }
    }

    /// Builds or downloads.
    pub(super) async fn prepare(&self, cache_dir: &Path, report: Report<'_>) -> Result<()> {
        let listener = |progress| image::tell(progress, report);
        match self {
            Boot::Node(spec, _) => {
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

    /// Whether new machines can start with all the components that they ever can have in place.
    pub(super) fn is_stocked(&self, cache_dir: &Path) -> bool {
        let Boot::Node(spec, release) = self else { return true };
        image::cached(spec, cache_dir).is_some_and(|image| component_disk::cached(&image, &release.tag).is_some())
    }

    /// Puts the components in place. Machines can be made without: each is brought them over SSH then.
    pub(super) async fn stock(&self, cache_dir: &Path, report: Report<'_>) {
        let Boot::Node(spec, release) = self else { return };
        let Some(image) = image::cached(spec, cache_dir) else { return };
        report("putting the components in place".to_owned());
        if let Err(error) = put_in_place(&image, release, cache_dir, report).await {
            tracing::warn!("no image with the components can be made, so each machine is brought them: {error:#}");
        }
    }

    /// What was prepared.
    pub(super) async fn base(&self, cache_dir: &Path) -> Result<Base> {
        match self {
            Boot::Node(spec, release) => {
                let image = image::cached(spec, cache_dir).context("the node image is not in the cache")?;
                let kernel = Some(Kernel::of(&image));
                let components = component_disk::cached(&image, &release.tag);
                Ok(Base { id: image.hash, disk: image.disk, format: DiskFormat::Raw, components, kernel })
            }
            Boot::Cloud(cloud) => {
                let disk = image::downloaded(cloud, cache_dir).context("the cloud image is not in the cache")?;
                let format = volume::detect_format(&disk).await?;
                Ok(Base { id: cloud.sha256[..16].to_owned(), disk, format, components: None, kernel: None })
            }
        }
    }

    pub(super) fn container_programs(&self, cache_dir: &Path) -> Option<ContainerPrograms> {
        match self {
            Boot::Node(spec, _) => image::cached(spec, cache_dir).as_ref().map(ContainerPrograms::from),
            Boot::Cloud(_) => {
                packages::cached(&PackageSpec::default(), cache_dir).as_ref().map(ContainerPrograms::from)
            }
        }
    }
}

async fn put_in_place(image: &NodeImage, release: &Components, cache_dir: &Path, report: Report<'_>) -> Result<()> {
    if component_disk::cached(image, &release.tag).is_some() {
        return Ok(());
    }
    let (components, cache_dir, programs) = (release.clone(), cache_dir.to_owned(), ContainerPrograms::from(image));
    let pack = move || image::component_images(&components.hyperkube, &programs, &components.tag, &cache_dir);
    let bundle = tokio::task::spawn_blocking(pack).await??;
    let waiting = || report("waiting for another run that puts the components in place".to_owned());
    component_disk::build(image, &bundle.path, &release.tag, waiting).await?;
    Ok(())
}
