//! The network that a cluster's machines live in.

use std::fs::File;

use harness::Lab;
use nix::sched::{CloneFlags, setns};

/// The network namespace of the cluster's private libvirt daemon.
pub(crate) fn namespace(lab: &Lab) -> File {
    let record = std::fs::read(lab.state().join("embedded/supervisor.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    File::open(format!("/proc/{}/ns/net", record["pid"])).unwrap()
}

/// Moves this thread, and what it starts, into a network.
pub(crate) fn enter(namespace: &File) {
    setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
}
