//! Fast tests of the programs as a user meets them; no machine is made.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::tests_outside_test_module,
    reason = "all of it is tests, and a skip says why"
)]

mod command_line;
mod command_line_help;
mod command_line_state;
mod existing_hosts;
mod golden;
mod topologies;
mod vagrant;
