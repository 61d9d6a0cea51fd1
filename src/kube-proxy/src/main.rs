//! The program `kube-proxy`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kube_proxy::main_with_args(std::env::args_os().collect())
}
