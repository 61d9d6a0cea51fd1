//! What clients may count on: the real kube-apiserver as a process of its own, over TLS, with a real etcd behind it.

#![allow(
    clippy::unwrap_used,
    clippy::similar_names,
    clippy::print_stdout,
    clippy::tests_outside_test_module,
    reason = "all of it is tests, a skip says why, and path and patch, role and rule are the words of the API"
)]

mod bad_input;
mod component_swap;
mod discovery;
mod every_field;
mod every_kind;
mod examples;
mod helm;
mod history;
mod identity;
mod kube_rs;
mod kubectl;
mod lists;
mod metrics;
mod negotiation;
mod objects;
mod operation;
mod peer_bugs;
mod probes;
mod proxies;
mod python;
mod server_side_apply;
mod service_ranges;
mod store_faults;
mod streams;
mod trust;
mod watches;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_apiserver-under-test");

/// A server of its own.
async fn server() -> harness::ApiServer {
    harness::ApiServer::start(PROGRAM).await
}
