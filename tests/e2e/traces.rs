//! What a cluster leaves on this machine, and runs that are ended at a step.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use harness::Lab;
use libvirt::{Daemon, Hypervisor as _, Owner};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Destroys the cluster: no state, process, mount or network namespace of it is left, and it is not known any more.
pub(crate) fn destroy_leaves_nothing(lab: &Lab, cluster: &str) {
    let ours = lab.path("").display().to_string();
    assert_ne!(processes_naming(&ours), Vec::<String>::new(), "the machines run until they are destroyed");
    let ran = lab.provision(&["destroy", cluster, "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!lab.state().exists(), "the state directory is left");
    assert_eq!(processes_naming(&ours), Vec::<String>::new());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&ours), "{mounts}");
    assert_eq!(lab.provision(&["status", cluster]).code, 7);
}

/// The private daemon of the cluster, and the folders of disks and consoles, know the machines that the cluster has: no other
/// domain, network, address or file, whoever came and went before.
pub(crate) fn only_what_belongs_to_machines_is_kept(lab: &Lab) {
    let kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(lab.state().join("cluster.json")).unwrap()).unwrap();
    let machines: BTreeSet<String> = kept["machines"].as_object().unwrap().keys().cloned().collect();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let owner = Owner { cluster: text(&kept["name"]), id: text(&kept["id"]) };
    assert_eq!(kept["libvirt"], "embedded");
    let socket = lab.state().join("embedded/run/libvirt-sock").display().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (domains, networks) = runtime.block_on(async {
        let daemon = Daemon::connect(&format!("qemu+unix:///system?socket={socket}")).await.unwrap();
        (daemon.domains(&owner).await.unwrap(), daemon.networks(&owner).await.unwrap())
    });
    assert_eq!(domains.into_iter().map(|domain| domain.name).collect::<BTreeSet<_>>(), machines, "domains");
    let names: Vec<&String> = networks.iter().map(|network| &network.name).collect();
    assert_eq!(names, [kept["network"]["name"].as_str().unwrap()], "networks");
    let promised = networks[0].hosts.iter().map(|host| host.name.clone());
    assert_eq!(promised.collect::<BTreeSet<_>>(), machines, "addresses in the network");
    let files = |machine: &String, ends: &[&str]| ends.iter().map(|end| format!("{machine}.{end}")).collect::<Vec<_>>();
    let disks = machines.iter().flat_map(|machine| files(machine, &["qcow2", "seed"])).collect();
    assert_eq!(files_in(lab, "disks"), disks);
    let consoles = files_in(lab, "console");
    let stem = |file: &String| file.split_once('.').unwrap().0.to_owned();
    assert_eq!(consoles.iter().map(stem).collect::<BTreeSet<_>>(), machines, "{consoles:?}");
}

/// Names of the files in a folder of the cluster's state directory.
fn files_in(lab: &Lab, folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(lab.state().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Nothing in the control plane has asked for what it may not have: tests with a fake API know no policy.
pub(crate) fn nobody_is_forbidden(lab: &Lab) {
    for component in ["kube-controller-manager", "kube-scheduler"] {
        let label = format!("component={component}");
        let logs = lab.kubectl(&["logs", "-n", "kube-system", "-l", &label, "--tail=-1"]);
        let refused: Vec<&str> = logs.lines().filter(|line| line.contains("is forbidden: User")).collect();
        assert_eq!(refused, Vec::<&str>::new(), "{component}");
    }
}

/// Command lines of processes in which the directory occurs.
fn processes_naming(dir: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(dir) {
            found.push(line);
        }
    }
    found
}

/// Starts `provision` and sends it a signal as soon as its journal says that it has begun a step; gives its exit code,
/// or none if the signal ended it.
pub(crate) fn end_run_at(lab: &Lab, args: &[&str], step: &str, signal: Signal) -> Option<i32> {
    let journal = lab.state().join("journal.jsonl");
    let begun = |text: &str| text.lines().filter(|line| line.contains("\"started\"") && line.contains(step)).count();
    let seen = || std::fs::read_to_string(&journal).map_or(0, |text| begun(&text));
    let before = seen();
    let mut run = lab.start(args);
    let deadline = Instant::now() + crate::shapes::PATIENCE;
    while seen() <= before {
        assert!(Instant::now() < deadline, "the run never came to {step}");
        assert!(run.try_wait().unwrap().is_none(), "the run ended before {step}: {}", lab.said());
        std::thread::sleep(LOOK_EVERY);
    }
    kill(Pid::from_raw(run.id().cast_signed()), signal).unwrap();
    run.wait().unwrap().code()
}
