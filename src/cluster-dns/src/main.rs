//! The program `cluster-dns`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cluster_dns::main_with_args(std::env::args_os().collect())
}
