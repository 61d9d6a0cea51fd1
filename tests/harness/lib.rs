//! What the tests stand on: the built programs, a state directory of their own, a small container image, an API server
//! of their own, and the clients that talk to it.
//!
//! Never: a shortcut into the programs under test; they are run as a user runs them.

mod api_server;
mod caller;
mod client_program;
mod cloud;
mod command_kubelet;
mod event_stream;
mod image;
mod lab;
mod pod_server;
mod private_network;
mod system_daemon;

pub use api_server::{ApiServer, PATIENCE};
pub use caller::{Answer, Caller, answer, core, try_answer};
pub use client_program::{Client, ClientProgram};
pub use cloud::{CloudServer, cloud_image};
pub use command_kubelet::CommandKubelet;
pub use event_stream::EventStream;
pub use image::busybox_archive;
pub use lab::{Lab, Ran, skip_reason, skip_reason_of_long_tests};
pub use pod_server::serve_as_pod;
pub use private_network::in_private_network;
pub use system_daemon::SystemDaemon;
