//! The kubelet: runs the pods of one node.
pub mod cgroup;
pub mod cluster;
pub mod config;
pub mod log_file;
pub mod node_context;
pub mod paths;
pub mod pod;
pub mod pods;
pub mod probe;
pub mod sources;
pub mod sync;
pub mod volumes;
