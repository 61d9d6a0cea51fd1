//! The program `kube-scheduler`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kube_scheduler::main_with_args(std::env::args_os().collect())
}
