//! The whole server over TLS with a real etcd behind it, as a client sees it.

mod access;
mod harness;
mod lists;
mod objects;
mod services;
mod watches;
