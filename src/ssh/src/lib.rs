//! Hosts: machines that are reached by SSH.
//!
//! One multiplexed connection a host carries every command and every upload at once. The host key is known before the
//! first byte: a host that shows another key is refused and learns nothing.
//!
//! Never: Kubernetes, or a decision about what a host should be told.
//!
//! Start reading at [`Host`], the trait that the lifecycle engine works with; [`Connection`] is the real one and
//! [`fake`] stands in for it in fast tests.

mod connection;
mod error;
mod host;
mod keys;
mod output;
mod upload;

pub mod fake;

pub use connection::{Connection, Endpoint};
pub use error::SshError;
pub use host::{File, Host, Input, Script, Uploaded, quote};
pub use keys::{HostKey, Identity};
pub use output::{Ended, Output, Piece, Sink};

#[cfg(test)]
mod tests;
