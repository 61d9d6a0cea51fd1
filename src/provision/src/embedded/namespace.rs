//! What is private: the network, `/run`, libvirt's directories, and a `/dev/kvm` that does not work.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::layout::Layout;

/// A step of the set-up that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub(super) struct NamespaceError {
    step: String,
    source: io::Error,
}

fn at(step: impl Into<String>) -> impl FnOnce(nix::Error) -> NamespaceError {
    let step = step.into();
    move |source| NamespaceError { step, source: source.into() }
}

/// Takes new namespaces for the calling thread, which must be the only one.
pub(super) fn create(layout: &Layout, mark: &str, hide_kvm: bool) -> Result<(), NamespaceError> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).map_err(at("taking namespaces"))?;
    let (none, bind) = (None::<&Path>, MsFlags::MS_BIND);
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).map_err(at("making mounts private"))?;
    // Hides the system's libvirt, D-Bus and machine registry; the name of the file system is our mark.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some(mark), "/run", Some("tmpfs"), flags, Some("mode=0755")).map_err(at("mounting /run"))?;
    let run = std::fs::create_dir("/run/libvirt");
    run.map_err(|source| NamespaceError { step: "making /run/libvirt".into(), source })?;
    for (source, target) in layout.binds() {
        mount(Some(&source), target, none, bind, none).map_err(at(format!("mounting {target}")))?;
    }
    if hide_kvm && Path::new("/dev/kvm").exists() {
        // On a read-only mount a regular file is not writable for root either, so libvirt takes KVM for absent.
        let (file, device) = (layout.nothing(), "/dev/kvm");
        mount(Some(&file), device, none, bind, none).map_err(at("hiding /dev/kvm"))?;
        let read_only = bind | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, device, none, read_only, none).map_err(at("hiding /dev/kvm"))?;
    }
    Ok(())
}

/// Enters the namespaces that another process lives in.
pub(super) fn join(pid: i32) -> Result<(), NamespaceError> {
    let open = |kind: &str| {
        let path = format!("/proc/{pid}/ns/{kind}");
        File::open(&path).map_err(|source| NamespaceError { step: format!("opening {path}"), source })
    };
    let (net, mnt) = (open("net")?, open("mnt")?);
    setns(net, CloneFlags::CLONE_NEWNET).map_err(at("entering the network"))?;
    setns(mnt, CloneFlags::CLONE_NEWNS).map_err(at("entering the mounts"))
}
