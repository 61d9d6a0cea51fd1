//! What the machine is: processors, memory, disk, names.

use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::NodeSystemInfo;

/// Sizes of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Processors.
    pub cpus: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of the file system that holds pods.
    pub disk: i64,
}

/// What is free right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Free {
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of the file system that holds pods.
    pub disk: i64,
    /// Bytes of all of that file system.
    pub disk_size: i64,
    /// Files that can still be made on it.
    pub inodes: i64,
    /// Files it can hold.
    pub inodes_size: i64,
    /// Processes that can still be started.
    pub pids: i64,
    /// Processes there can be.
    pub pids_size: i64,
}

/// Measures the machine.
pub fn sizes(root: &Path) -> Sizes {
    let cpus = std::thread::available_parallelism().map_or(1, |count| i64::try_from(count.get()).unwrap_or(1));
    Sizes { cpus, memory: memory("MemTotal"), disk: disk(root).disk_size }
}

/// Measures what is free.
pub fn free(root: &Path) -> Free {
    let most: i64 = read("/proc/sys/kernel/pid_max").parse().unwrap_or(i64::MAX);
    let load = read("/proc/loadavg");
    let running =
        load.split_whitespace().nth(3).and_then(|pair| pair.split_once('/')).and_then(|(_, all)| all.parse().ok());
    Free { memory: memory("MemAvailable"), pids: most - running.unwrap_or(0), pids_size: most, ..disk(root) }
}

fn disk(root: &Path) -> Free {
    // Before the folder is made, what holds it counts.
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let Ok(stat) = nix::sys::statvfs::statvfs(existing) else { return Free::default() };
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.fragment_size())).unwrap_or(i64::MAX);
    let count = |files: u64| i64::try_from(files).unwrap_or(i64::MAX);
    Free {
        disk: bytes(stat.blocks_available()),
        disk_size: bytes(stat.blocks()),
        inodes: count(stat.files_available()),
        inodes_size: count(stat.files()),
        ..Free::default()
    }
}

fn memory(field: &str) -> i64 {
    parse_memory(&read("/proc/meminfo"), field)
}

fn parse_memory(text: &str, field: &str) -> i64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<i64>().ok()).map_or(0, |kib| kib * 1024)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn os_image(text: &str) -> String {
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("Linux", |name| name.trim_matches('"')).to_owned()
}

/// Names and versions of the machine.
pub fn system_info(runtime_version: &str) -> NodeSystemInfo {
    let kernel = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let machine_id = read("/etc/machine-id");
    let uuid = Some(read("/sys/class/dmi/id/product_uuid")).filter(|uuid| !uuid.is_empty());
    let version = component_base::version::GIT_VERSION.to_owned();
    NodeSystemInfo {
        architecture: component_base::version::architecture().to_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: runtime_version.to_owned(),
        kernel_version: kernel.unwrap_or_default(),
        kube_proxy_version: version.clone(),
        kubelet_version: version,
        system_uuid: uuid.unwrap_or_else(|| machine_id.clone()),
        machine_id,
        operating_system: "linux".to_owned(),
        os_image: os_image(&read("/etc/os-release")),
        swap: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_files_are_read() {
        assert_eq!(parse_memory("MemTotal:        2048 kB\nMemAvailable: 7 kB\n", "MemAvailable"), 7168);
        assert_eq!(os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n"), "Debian GNU/Linux 13 (trixie)");
        let sizes = sizes(Path::new("/"));
        assert!(sizes.cpus > 0 && sizes.memory > 0 && sizes.disk > 0);
        let free = free(Path::new("/nowhere/yet"));
        assert!(free.memory > 0 && free.pids > 0 && free.disk > 0);
    }
}
