//! What the tests stand on: the built programs, a state directory of their own, a small container image.
//!
//! Never: a shortcut into the programs under test; they are run as a user runs them.

mod cloud;
mod image;
mod lab;
mod system_daemon;

pub use cloud::{CloudServer, cloud_image};
pub use image::busybox_archive;
pub use lab::{Lab, Ran, skip_reason, skip_reason_of_long_tests};
pub use system_daemon::SystemDaemon;
