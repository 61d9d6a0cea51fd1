//! The `kube-controller-manager` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    kube_controller_manager::main_with_args(std::env::args_os().collect())
}
