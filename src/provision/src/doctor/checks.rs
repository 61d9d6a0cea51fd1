//! The checks, in the order they are shown. Each is a pure function of the facts.

use super::host::{DRIVERS, Needed, PROGRAMS};
use super::{Facts, Finding, Outcome};
use crate::embedded::kvm::Kvm;
use crate::embedded::select::Wanted;

/// Room for the node image, what builds it, and the first machines.
const CACHE_MIB: u64 = 4 << 10;
const STATE_MIB: u64 = 4 << 10;

/// As many as a control plane has if its topology says nothing.
const CPUS: usize = 2;

/// All checks.
pub const CHECKS: &[fn(&Facts) -> Finding] =
    &[root, programs, image_tools, login, kvm, cpus, libvirt, kernel, memory, disk, subnet, mirror];

fn ok(check: &'static str, detail: impl Into<String>) -> Finding {
    Finding { check, outcome: Outcome::Ok, detail: detail.into(), cure: None }
}

fn warning(check: &'static str, detail: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding { check, outcome: Outcome::Warning, detail: detail.into(), cure: Some(cure.into()) }
}

fn failure(check: &'static str, detail: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding { check, outcome: Outcome::Failure, detail: detail.into(), cure: Some(cure.into()) }
}

/// Whether a private daemon would be used.
fn is_embedded(facts: &Facts) -> bool {
    match facts.needs.libvirt {
        Wanted::Embedded => true,
        Wanted::Auto => facts.libvirt.is_none(),
        Wanted::Uri(_) => false,
    }
}

/// Whether guests run on another machine, whose programs are not ours to check.
fn is_remote(facts: &Facts) -> bool {
    matches!(&facts.needs.libvirt, Wanted::Uri(uri) if uri.contains("+ssh") || uri.contains("+tls"))
}

fn root(facts: &Facts) -> Finding {
    if facts.root {
        return ok("root", "running as root");
    }
    let cure = "run the command as root (`sudo`)";
    if is_embedded(facts) {
        failure("root", "a private libvirt daemon needs root", cure)
    } else {
        warning("root", "the node image can only be built by root", cure)
    }
}

fn missing(facts: &Facts, wanted: impl Fn(Needed) -> bool) -> (Vec<&'static str>, Vec<&'static str>) {
    let has = |name: &str| facts.programs.iter().any(|path| path.file_name().is_some_and(|file| file == name));
    let lacking = PROGRAMS.iter().filter(|program| wanted(program.needed) && !has(program.name));
    lacking.map(|program| (program.name, program.package)).unzip()
}

fn programs(facts: &Facts) -> Finding {
    if is_remote(facts) {
        return ok("programs", "machines run elsewhere");
    }
    let embedded = is_embedded(facts);
    let (mut names, mut packages) =
        missing(facts, |needed| needed == Needed::Always || (embedded && needed == Needed::Embedded));
    if embedded {
        let has = |file: &str| facts.programs.iter().any(|path| path.ends_with(file));
        for (file, package) in DRIVERS.iter().filter(|(file, _)| !has(file)) {
            names.push(file);
            packages.push(package);
        }
    }
    if names.is_empty() {
        return ok("programs", "QEMU and libvirt are installed");
    }
    failure("programs", format!("missing: {}", names.join(", ")), format!("apt-get install {}", packages.join(" ")))
}

fn image_tools(facts: &Facts) -> Finding {
    let (names, packages) = missing(facts, |needed| needed == Needed::Image);
    if names.is_empty() {
        return ok("image-tools", "mmdebstrap and mke2fs are installed");
    }
    let cure = format!("apt-get install {}, or use a cloud image", packages.join(" "));
    warning("image-tools", format!("the node image cannot be built: missing {}", names.join(", ")), cure)
}

fn login(facts: &Facts) -> Finding {
    let (names, packages) = missing(facts, |needed| needed == Needed::Login);
    let cure = format!("apt-get install {}", packages.join(" "));
    match (names.is_empty(), is_remote(facts)) {
        (true, _) => ok("login", "OpenSSH is installed"),
        (false, true) => failure("login", "the libvirt daemon is reached by OpenSSH, which is missing", cure),
        (false, false) => warning("login", "`provision ssh` and `provision logs` need OpenSSH, which is missing", cure),
    }
}

fn kvm(facts: &Facts) -> Finding {
    match &facts.kvm {
        Kvm::Usable => ok("kvm", "KVM works"),
        Kvm::Unusable(reason) => warning(
            "kvm",
            format!("machines are emulated (TCG), several times slower: {reason}"),
            "enable virtualization in the firmware, or nested virtualization in the hypervisor of this machine",
        ),
    }
}

fn cpus(facts: &Facts) -> Finding {
    let have = facts.cpus;
    if is_remote(facts) {
        return ok("cpus", "machines run elsewhere");
    }
    if have >= CPUS {
        return ok("cpus", format!("{have} CPUs"));
    }
    let cure = format!("give this machine at least {CPUS} CPUs");
    warning("cpus", format!("{have} CPU for all machines and what makes them: everything takes long"), cure)
}

fn libvirt(facts: &Facts) -> Finding {
    match &facts.libvirt {
        None => ok("libvirt", "a private libvirt daemon will be used"),
        Some(Ok(greeting)) => ok("libvirt", greeting),
        Some(Err((reason, cure))) => {
            let cure = cure.clone().unwrap_or_else(|| "use `uri: embedded`".to_owned());
            failure("libvirt", reason, cure)
        }
    }
}

fn kernel(facts: &Facts) -> Finding {
    if facts.missing_kernel_features.is_empty() {
        return ok("kernel", "namespaces and tun devices are there");
    }
    let detail = format!("the kernel lacks {}", facts.missing_kernel_features.join(", "));
    failure("kernel", detail, "load the modules (`modprobe tun`), or give this container the device /dev/net/tun")
}

fn memory(facts: &Facts) -> Finding {
    let (have, need) = (facts.available_memory_mib, facts.needs.memory_mib);
    if have >= need {
        return ok("memory", format!("{have} MiB available, {need} MiB needed"));
    }
    let cure = "give the machines less memory in the topology, or end other programs";
    failure("memory", format!("{have} MiB available, {need} MiB needed"), cure)
}

fn disk(facts: &Facts) -> Finding {
    let places = [(&facts.needs.cache_dir, CACHE_MIB), (&facts.needs.state_dir, STATE_MIB)];
    for ((dir, need), free) in places.into_iter().zip(facts.free_disk_mib) {
        match free {
            Some(free) if free >= need => {}
            Some(free) => {
                let detail = format!("{}: {free} MiB free, {need} MiB needed", dir.display());
                return failure("disk", detail, "free disk space, or choose other --cache-dir and --state-dir");
            }
            None => {
                let detail = format!("{} cannot be looked at", dir.display());
                return failure("disk", detail, "choose directories that you may write to");
            }
        }
    }
    ok("disk", "enough space for images and machines")
}

fn subnet(facts: &Facts) -> Finding {
    let Some(wanted) = facts.needs.subnet else {
        return match ::libvirt::subnet::choose(&facts.routes) {
            Some(free) => ok("subnet", format!("{free} is free")),
            None => failure("subnet", "no range of ours is free", "name a free range in the topology"),
        };
    };
    match facts.routes.iter().find(|route| ::libvirt::subnet::overlap(route, &wanted)) {
        None => ok("subnet", format!("{wanted} is free")),
        // A private daemon has a network of its own; only the host's own way to the range is hidden.
        Some(_) if is_embedded(facts) => ok("subnet", format!("{wanted} is used here, which a private network allows")),
        Some(route) => {
            let cure = "choose another range in the topology, or remove the network that has it";
            failure("subnet", format!("{wanted} overlaps {route}, which this machine has a route to"), cure)
        }
    }
}

fn mirror(facts: &Facts) -> Finding {
    match &facts.mirror {
        Some(mirror) => ok("mirror", mirror),
        None => {
            warning("mirror", "no Debian mirror is named in /etc/apt", "name one in the topology, or use a cloud image")
        }
    }
}
