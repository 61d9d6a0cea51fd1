//! Measures our kube-apiserver beside upstream's: see the crate's documentation.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    // Without a binary of ours named, this program is the server too.
    if args.get(1).is_some_and(|first| first == bench::subject::SELF) {
        return kube_apiserver::main_with_args(args[1..].to_vec());
    }
    bench::main_with_args(args)
}
