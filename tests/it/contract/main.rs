//! What clients may count on: the real kube-apiserver as a process of its own, over TLS, with a real etcd behind it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::tests_outside_test_module,
    reason = "all of it is tests, and a skip says why"
)]

mod examples;
mod probes;

mod every_field;
mod every_kind;

mod discovery;
mod helm;
mod kube_rs;
mod kubectl;
mod python;

mod lists;
mod negotiation;
mod server_side_apply;
mod watches;

mod bad_input;
mod objects;
mod peer_bugs;
mod store_faults;
mod trust;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_apiserver-under-test");

/// A server of its own.
async fn server() -> harness::ApiServer {
    harness::ApiServer::start(PROGRAM).await
}
