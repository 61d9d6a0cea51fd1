//! The program `hyperkube`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hyperkube::main_with_args(std::env::args_os().collect())
}
