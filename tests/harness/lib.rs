//! What the tests stand on: the built programs, a state directory of their own, a small container image.
//!
//! Never: a shortcut into the programs under test; they are run as a user runs them.

mod image;
mod lab;

pub use image::busybox_archive;
pub use lab::{Lab, Ran, skip_reason};
