//! The data store behind the API server: a client layer over etcd v3 and a watch cache.
//!
//! This crate moves keys, bytes and revisions. It never knows what a Kubernetes object is: whoever starts a
//! [`Cacher`] brings a [`Codec`] that turns bytes into its own type. Only `kube-apiserver` may depend on it.
//!
//! # Invariants
//! - The revision of a value is etcd's `mod_revision`; it is never written into the value.
//! - Every write is a guarded transaction. A refused guard answers with the current value.
//! - All pages of one list come from one revision.
//! - A [`Cacher`] holds exactly one etcd watch. Readers take immutable snapshots and never hold up events.
//! - A watcher sees every event after its starting revision, in order, once; or it is closed and told so.
//! - A value that cannot be decoded is an error with its key on every read that covers it, never a gap.
//!
//! # Where to start reading
//! [`Etcd`] in `etcd.rs` for reads, writes and leases; [`Cacher`] in `cacher.rs` for what readers see;
//! `cacher/pump.rs` for how events get there.

mod cacher;
mod error;
mod etcd;
#[cfg(feature = "testing")]
pub mod testing;

pub use cacher::codec::{Codec, DecodeError, Undecodable};
pub use cacher::freshness::{LatestError, WaitError};
pub use cacher::hub::{CacheEvent, Closed, Delivery, Expired, Since, Watcher};
pub use cacher::snapshot::{Range, ReadError, Snapshot};
pub use cacher::{CacheOptions, CacheStats, Cacher};
pub use error::StorageError;
pub use etcd::compact::COMPACT_REVISION_KEY;
pub use etcd::create_many::Creation;
pub use etcd::read::{KeyValue, ListOptions, Page};
pub use etcd::watch::{EtcdWatch, WatchBatch, WatchEvent};
pub use etcd::{Etcd, EtcdConfig};
