//! What every program of the system does the same way.
//!
//! Version, logging, signals, runtime, TLS serving with certificates that reload, health checks, metrics, the client of
//! the API server and the conventions of flags. A program's `main_with_args` is [`flags::parse`], [`logging::init`],
//! [`runtime::block_on`]; its servers are [`serving`] over [`tls`].
//!
//! This crate never knows a concrete component or a concrete kind of object.

pub mod client;
pub mod flags;
pub mod health;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod runtime;
pub mod serving;
pub mod shutdown;
pub mod tls;
pub mod version;
