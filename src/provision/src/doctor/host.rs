//! Looking at this machine.

use std::path::{Path, PathBuf};

/// A program that something needs.
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) package: &'static str,
    /// What needs it.
    pub(super) needed: Needed,
}

/// What needs a program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    /// Machines, whoever runs them here.
    Always,
    /// A private libvirt daemon.
    Embedded,
    /// Building the node image.
    Image,
    /// Logging in to machines, and to a libvirt daemon elsewhere.
    Login,
}

const fn program(name: &'static str, package: &'static str) -> Program {
    Program { name, package, needed: Needed::Always }
}

const fn for_embedded(name: &'static str, package: &'static str) -> Program {
    Program { name, package, needed: Needed::Embedded }
}

const fn for_image(name: &'static str, package: &'static str) -> Program {
    Program { name, package, needed: Needed::Image }
}

/// All programs, with the Debian packages that have them.
pub(super) const PROGRAMS: &[Program] = &[
    program("qemu-img", "qemu-utils"),
    program("qemu-system-x86_64", "qemu-system-x86"),
    for_embedded("libvirtd", "libvirt-daemon"),
    for_embedded("virtlogd", "libvirt-daemon-log"),
    for_embedded("dnsmasq", "dnsmasq-base"),
    for_embedded("ip", "iproute2"),
    for_embedded("nft", "nftables"),
    for_image("mmdebstrap", "mmdebstrap"),
    for_image("mke2fs", "e2fsprogs"),
    Program { name: "ssh", package: "openssh-client", needed: Needed::Login },
];

/// Drivers that libvirtd loads.
pub(super) const DRIVERS: &[(&str, &str)] = &[
    ("libvirt_driver_qemu.so", "libvirt-daemon-driver-qemu"),
    ("libvirt_driver_network.so", "libvirt-daemon-driver-network"),
];

/// Kernel features of the host, as files of which one must be there.
const KERNEL_FEATURES: &[(&str, &[&str])] = &[
    ("network namespaces", &["/proc/self/ns/net"]),
    ("mount namespaces", &["/proc/self/ns/mnt"]),
    ("tun devices", &["/dev/net/tun"]),
];

/// Programs and drivers that are installed.
pub(super) fn programs() -> Vec<PathBuf> {
    let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = PROGRAMS
        .iter()
        .filter_map(|program| dirs.iter().map(|dir| Path::new(dir).join(program.name)).find(|path| path.exists()));
    let drivers = DRIVERS.iter().filter_map(|(file, _)| crate::embedded::driver(file));
    found.chain(drivers).collect()
}

/// What is free below a directory, or below the nearest one that exists.
pub(super) fn free_mib(dir: &Path) -> Option<u64> {
    let dir = std::path::absolute(dir).ok()?;
    let exists = dir.ancestors().find(|dir| dir.exists())?;
    let stat = nix::sys::statvfs::statvfs(exists).ok()?;
    Some((stat.blocks_available() * stat.fragment_size()) >> 20)
}

/// What the kernel believes can be had without swapping.
pub(super) fn available_memory_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: Option<u64> = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0) >> 10
}

/// Processors that this process may use.
pub(super) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Features without which a private daemon has no machines.
pub(super) fn missing_kernel_features() -> Vec<&'static str> {
    let there = |files: &[&str]| files.iter().any(|file| Path::new(file).exists());
    KERNEL_FEATURES.iter().filter(|(_, files)| !there(files)).map(|(name, _)| *name).collect()
}
