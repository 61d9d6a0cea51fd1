//! All programs of a node in one static binary.
//!
//! The name it is called by, or else its first argument, says which one runs; the rest is that
//! program's own. It holds no logic but [`pause`], the container that keeps a pod's namespaces.

pub mod pause;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// A program: its arguments in (the first is its name), its exit code out.
pub type Program = fn(Vec<OsString>) -> ExitCode;

/// Every program, by the name it is called by.
pub const PROGRAMS: &[(&str, Program)] = &[
    ("kube-apiserver", kube_apiserver::main_with_args),
    ("kube-scheduler", kube_scheduler::main_with_args),
    ("kube-controller-manager", kube_controller_manager::main_with_args),
    ("kubelet", kubelet::main_with_args),
    ("kube-proxy", kube_proxy::main_with_args),
    ("cluster-dns", cluster_dns::main_with_args),
    ("pause", pause::main_with_args),
];

/// Runs the program that `args` ask for.
pub fn main_with_args(mut args: Vec<OsString>) -> ExitCode {
    if let Some(program) = args.first().and_then(|name| find(name)) {
        return program(args);
    }
    if let Some(program) = args.get(1).and_then(|name| find(name)) {
        args.remove(0);
        return program(args);
    }
    let names: Vec<&str> = PROGRAMS.iter().map(|(name, _)| *name).collect();
    // Nobody is left to tell when standard error itself is closed.
    let _ = writeln!(std::io::stderr(), "usage: hyperkube {} [FLAG]...", names.join("|"));
    ExitCode::FAILURE
}

fn find(name: &OsStr) -> Option<Program> {
    let name = Path::new(name).file_name()?;
    PROGRAMS.iter().find(|(known, _)| name == *known).map(|(_, program)| *program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_path() {
        assert!(find(OsStr::new("/usr/local/bin/kube-proxy")).is_some());
        assert!(find(OsStr::new("hyperkube")).is_none());
        assert!(find(OsStr::new("kube-proxy-2")).is_none());
    }

    #[test]
    fn no_program_is_an_error() {
        assert_eq!(main_with_args(vec!["hyperkube".into()]), ExitCode::FAILURE);
        assert_eq!(main_with_args(Vec::new()), ExitCode::FAILURE);
    }
}
