//! Where pods come from: files on the node, and the API.

pub mod files;
pub mod mirror;
