//! Images: the golden disk that machines start from, cloud images, and the container images of the components.
//!
//! Everything is made in a cache directory, named by a hash of what it is made of, in a draft that is renamed
//! when it is whole: an image that can be seen can be used, and a second run makes nothing.

pub mod build;
pub mod component_disk;
pub mod debian;
pub mod download;
pub mod files;
pub mod layer;
pub mod lock;
pub mod oci;
pub mod packages;

pub use build::{BuildError, ImageSpec, KERNEL_COMMAND_LINE, NodeImage, build, cached};
pub use component_disk::ComponentDisk;
pub use download::{CloudImage, DownloadError, downloaded, fetch};
pub use oci::{ImageBundle, OciError, PAUSE_IMAGE, component_images, file_hash};
pub use packages::{ContainerPrograms, PackageSet, PackageSpec};

/// What an operation that takes a while tells the one who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A step begins; steps are counted from 1.
    Step {
        /// Which step it is.
        number: usize,
        /// How many there are.
        of: usize,
        /// What is done, for a person.
        title: String,
    },
    /// A line from the tool that does the step.
    Detail(String),
    /// How far a transfer is.
    Bytes {
        /// Bytes that are there.
        done: u64,
        /// Bytes there will be, if it is known.
        total: Option<u64>,
    },
}

/// Where progress is told to.
pub type Listener<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Progress as a few words for the one line that a step has.
pub fn tell(progress: Progress, report: &(dyn Fn(String) + Send + Sync)) {
    match progress {
        Progress::Step { number, of, title } => report(format!("[{number}/{of}] {title}")),
        Progress::Detail(text) => report(text),
        Progress::Bytes { done, total: Some(total) } => report(format!("{} of {} MiB", done >> 20, total >> 20)),
        Progress::Bytes { done, total: None } => report(format!("{} MiB", done >> 20)),
    }
}
