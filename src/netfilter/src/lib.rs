//! The packet side of a Linux host: nftables, connection tracking, routes and kernel switches.
//!
//! Each of them is a trait with an adapter for the real kernel and a fake beside it ([`fake`])
//! that records what it was told. The crate carries text and addresses; it knows nothing of
//! services, endpoints or any other Kubernetes policy, and it never decides what to apply.
//!
//! Start with [`nftables`], the part everything else grew around.

pub mod conntrack;
pub mod fake;
pub mod nftables;
pub mod program;
pub mod routes;
pub mod sysctl;

pub use conntrack::{Conntrack, ConntrackCommand, ConntrackError, UdpFlows};
pub use nftables::{Family, NftCommand, Nftables, NftablesError};
pub use program::Program;
pub use routes::{IpCommand, Route, Routes, RoutesError};
pub use sysctl::{SysctlError, ensure as ensure_sysctl};
