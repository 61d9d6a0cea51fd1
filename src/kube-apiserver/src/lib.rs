//! kube-apiserver: the one door to the cluster's state.
//!
//! A request is read once ([`request_info`]), passes an ordered chain ([`filters`]: who is it, may they, is there
//! room), and ends in one of about a dozen verbs that work for every kind alike, driven by the rows of the
//! `api` crate. Objects live in etcd; every kind has a watch cache that answers reads with the bytes it keeps.
//!
//! # Invariants
//! - Only this crate talks to etcd, and every write is one guarded transaction.
//! - No verb knows a concrete kind: what differs stands in the table, in a strategy or in an admission plugin.
//! - A failure becomes HTTP in one place, `error.rs`.
//!
//! # Where to start reading
//! `filters.rs` for the way of a request, `verbs.rs` for what it may do, `registry.rs` for where objects are,
//! `admission.rs` for what is changed and checked on the way in.

pub mod config;
pub mod query;
pub mod reply;
pub mod request_info;
pub mod user;
