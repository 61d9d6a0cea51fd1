//! The kubelet: runs the pods of one node.
pub mod paths;
pub mod pod;
