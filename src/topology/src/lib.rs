//! What the user asks for: the topology file, parsed, defaulted and checked.
//!
//! The types in [`spec`] are the single truth: the JSON Schema, the check for unknown fields and wrong types, and the
//! defaults all come from them. A file is first held against that schema with the position of every value kept
//! ([`document`], [`structure`]), so that one run reports every mistake with its line and field path; the rules that a
//! schema cannot say are in [`validate`].
//!
//! Never: files, sockets, clocks, or anything about the machine it runs on (whether the host has enough memory is asked
//! elsewhere).
//!
//! Start reading at [`Topology::parse`], then [`spec`].

mod document;
mod error;
mod machines;
mod parse;
mod structure;
mod successor;
mod validate;

pub mod defaults;
pub mod spec;
pub mod units;

pub use error::{InvalidTopology, Problem};
pub use machines::{Machine, Role};
pub use parse::Topology;

/// The JSON Schema of a topology file (draft 2020-12), for editors and for `provision topology schema`.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(spec::Cluster).to_value()
}

#[cfg(test)]
mod tests;
