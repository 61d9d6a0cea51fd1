//! Machines: domains, networks and disks of one libvirt daemon, behind the trait [`Hypervisor`].
//!
//! The crate takes finished XML and makes it true; what a cluster's machines look like is decided by its
//! caller. Every object carries an owner element (see [`Owner`]), and an object without the caller's
//! owner element is never started, changed, stopped or removed, whatever its name is.
//!
//! It never knows Kubernetes, never renders a template, and never opens a network connection to a guest.
//!
//! Start reading at [`hypervisor`] (the trait), then [`daemon`] (the real adapter) and [`fake`] (its twin
//! for tests). [`volume`] makes disks as plain qcow2 files, [`subnet`] finds a free network range.

pub mod daemon;
pub mod description;
pub mod error;
pub mod fake;
pub mod hypervisor;
pub mod subnet;
pub mod volume;

pub use daemon::{Daemon, Overlay, Pool};
pub use description::{DhcpHost, Owner};
pub use error::{HypervisorError, Object};
pub use fake::FakeHypervisor;
pub use hypervisor::{DomainState, DomainSummary, HostInfo, Hypervisor, NetworkSummary};
