//! The program `kube-apiserver`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kube_apiserver::main_with_args(std::env::args_os().collect())
}
