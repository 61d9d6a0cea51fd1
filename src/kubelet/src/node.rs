//! The node itself: what it is, how it registers, and how it stays alive in the eyes of the cluster.

pub mod addresses;
pub mod facts;
pub mod lease;
pub mod network;
pub mod registration;
pub mod runtime_socket;
pub mod status;
