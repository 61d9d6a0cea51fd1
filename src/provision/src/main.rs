//! The `provision` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    provision::main_with_args(std::env::args_os().collect())
}
