//! kube-controller-manager as a program of this package, so that the contract tests always run the one that was just built.

use std::process::ExitCode;

fn main() -> ExitCode {
    kube_controller_manager::main_with_args(std::env::args_os().collect())
}
