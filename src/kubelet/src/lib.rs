//! The kubelet: runs the pods of one node.
pub mod api_cluster;
pub mod cgroup;
pub mod cluster;
pub mod config;
pub mod log_file;
pub mod node;
pub mod node_context;
pub mod paths;
pub mod pod;
pub mod pods;
pub mod probe;
pub mod runtime_events;
pub mod sources;
pub mod status_writer;
pub mod sync;
pub mod volumes;
