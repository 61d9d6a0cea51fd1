//! The machinery of everything that follows the API server and acts.
//!
//! An [`Informer`] keeps one kind of object in memory with one list and watch for the whole process; a [`WorkQueue`]
//! remembers which objects to look at, once each; [`run_workers`] looks at them and tries again what failed. A
//! [`LeaderElector`] lets one of several processes act, a [`Recorder`] tells users what was done, a [`Retry`] says when to
//! ask again somebody who did not answer.
//!
//! This crate never knows a concrete kind of object (but for Lease and Event, its own tools) and never polls: everything
//! starts from a watch event or one timer.
//!
//! Start with `informer.rs`, then `queue.rs` and `worker.rs`. Tests of controllers use [`fake`].

mod informer;
mod key;
mod leader;
mod queue;
mod recorder;
mod retry;
mod store;
mod worker;

pub mod fake;

pub use informer::Informer;
pub use key::ObjectKey;
pub use leader::{LeaderElector, LeaderError, LeaseTimes};
pub use queue::WorkQueue;
pub use recorder::{EventType, Recorder};
pub use retry::Retry;
pub use store::{Event, Store};
pub use worker::{Requeue, run_workers};
