//! The `kubelet` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubelet::main_with_args(std::env::args_os().collect())
}
