//! One pod: what is wanted of it, what is seen of it, and what the difference calls for.
//!
//! Everything here except [`observe`], [`start`] and [`stop`] is pure.

pub mod amount;
pub mod backoff;
pub mod container;
pub mod dns;
pub mod environment;
pub mod expansion;
pub mod field;
pub mod hosts;
pub mod identity;
pub mod image;
pub mod observed;
pub mod plan;
pub mod qos;
pub mod resources;
pub mod sandbox;
pub mod security;
pub mod start;
pub mod status;
pub mod stop;
