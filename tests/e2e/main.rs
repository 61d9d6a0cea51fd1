//! End to end on real virtual machines: minutes, root and libvirt are needed; what is missing is printed as the reason
//! for a skip.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::tests_outside_test_module,
    reason = "all of it is tests, and a skip says why"
)]

mod cloud_image;
mod crashes;
mod existing_hosts;
mod failover;
mod large;
mod network;
mod probe;
mod shapes;
mod single_node;
mod system_daemon;
mod traces;
