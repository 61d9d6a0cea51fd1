//! The kubelet: runs the pods of one node.
pub mod cluster;
pub mod paths;
pub mod pod;
pub mod volumes;
