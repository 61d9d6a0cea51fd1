//! The packet side of a Linux host: nftables, connection tracking, routes and kernel switches.
//!
//! Each of them is a trait with an adapter for the real kernel and a fake beside it ([`fake`])
//! that records what it was told. The crate carries text and addresses; it knows nothing of
//! services, endpoints or any other Kubernetes policy, and it never decides what to apply.
//!
//! Start with [`nftables`], the part everything else grew around. [`monitor`] tells when somebody else changed what was
//! written; [`netlink`] is the kernel's own protocol below routes and monitors.

pub mod conntrack;
pub mod fake;
pub mod monitor;
pub mod netlink;
pub mod nftables;
pub mod program;
pub mod routes;
pub mod sysctl;

pub use conntrack::{Conntrack, ConntrackCommand, ConntrackError, UdpFlows};
pub use monitor::{RouteMonitor, TableMonitor};
pub use nftables::{Family, NftCommand, Nftables, NftablesError};
pub use program::Program;
pub use routes::{Kernel as KernelRoutes, Route, Routes, RoutesError};
pub use sysctl::{SysctlError, ensure as ensure_sysctl};
