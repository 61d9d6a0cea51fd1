//! Control groups above the containers: one for all pods, one for each class, one for each pod.
//!
//! With systemd they are slices, asked for over its bus; without, folders of the unified hierarchy. A host with the
//! old hierarchy gets only what the runtime makes by itself.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cri::api::LinuxContainerResources;
use k8s_openapi::api::core::v1::Pod;

use crate::pod::qos::Qos;
use crate::pod::{identity, resources};

/// Who keeps the groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// systemd keeps them as slices.
    Systemd,
    /// The kubelet makes folders.
    Cgroupfs,
}

/// The groups of this node.
#[derive(Debug, Clone)]
pub struct Cgroups {
    driver: Driver,
    root: PathBuf,
    /// The weights that were given to the groups above pods, by path.
    weights: Arc<Mutex<BTreeMap<String, i64>>>,
    /// Held by the one who weighs; those who come meanwhile then mostly find nothing left to do.
    weighing: Arc<tokio::sync::Mutex<()>>,
}

impl Cgroups {
    /// Groups kept by `driver` below the file system at `root`.
    pub fn new(driver: Driver, root: impl Into<PathBuf>) -> Self {
        Self { driver, root: root.into(), weights: Arc::default(), weighing: Arc::default() }
    }

    /// The group of a pod, as the runtime is told.
    pub fn of_pod(&self, pod: &Pod) -> String {
        let uid = identity::uid(pod);
        let class = class(pod);
        match (self.driver, class) {
            (Driver::Systemd, None) => format!("/kubepods.slice/{}", slice(None, uid)),
            (Driver::Systemd, Some(class)) => {
                format!("/kubepods.slice/kubepods-{class}.slice/{}", slice(Some(class), uid))
            }
            (Driver::Cgroupfs, None) => format!("/kubepods/pod{uid}"),
            (Driver::Cgroupfs, Some(class)) => format!("/kubepods/{class}/pod{uid}"),
        }
    }

    /// Makes the group of a pod with its limits.
    pub async fn ensure(&self, pod: &Pod) -> io::Result<()> {
        let path = self.of_pod(pod);
        let wanted = resources::of_pod_cgroup(pod);
        if self.root.join(path.trim_start_matches('/')).is_dir() {
            return Ok(());
        }
        match self.driver {
            Driver::Systemd => {
                let unit = last(&path);
                bus(&start_arguments(unit, &wanted)).await
            }
            Driver::Cgroupfs => self.make_folders(&path, &wanted),
        }
    }

    /// Takes the group of a pod away, after its last process.
    pub async fn remove(&self, pod: &Pod) -> io::Result<()> {
        let path = self.of_pod(pod);
        let folder = self.root.join(path.trim_start_matches('/'));
        match self.driver {
            Driver::Systemd if folder.is_dir() => {
                bus(&["StopUnit".into(), "ss".into(), last(&path).into(), "replace".into()]).await
            }
            Driver::Cgroupfs if self.unified() && folder.is_dir() => fs::remove_dir(folder),
            _ => Ok(()),
        }
    }

    /// Weighs the groups above pods: all pods by what the node offers them, the burstable ones by what they ask for
    /// together, and the rest as little as the kernel allows. Both in thousandths of a CPU; the latter is asked for
    /// when it is this call's turn.
    pub async fn weigh(&self, offered: i64, burstable: impl Fn() -> i64) -> io::Result<()> {
        let _turn = self.weighing.lock().await;
        let (all, middle, least) = match self.driver {
            Driver::Systemd => (
                "/kubepods.slice",
                "/kubepods.slice/kubepods-burstable.slice",
                "/kubepods.slice/kubepods-besteffort.slice",
            ),
            Driver::Cgroupfs => ("/kubepods", "/kubepods/burstable", "/kubepods/besteffort"),
        };
        for (path, amount) in [(all, offered), (middle, burstable()), (least, 0)] {
            let weight = resources::weight(resources::shares(amount));
            if self.weight_of(path) == Some(weight) || !self.root.join(path.trim_start_matches('/')).is_dir() {
                continue;
            }
            match self.driver {
                Driver::Systemd => bus(&weight_arguments(last(path), weight)).await?,
                Driver::Cgroupfs if self.unified() => {
                    fs::write(self.root.join(path.trim_start_matches('/')).join("cpu.weight"), weight.to_string())?;
                }
                Driver::Cgroupfs => {}
            }
            self.weights.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), weight);
        }
        Ok(())
    }

    fn weight_of(&self, path: &str) -> Option<i64> {
        self.weights.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied()
    }

    fn unified(&self) -> bool {
        self.root.join("cgroup.controllers").exists()
    }

    fn make_folders(&self, path: &str, wanted: &LinuxContainerResources) -> io::Result<()> {
        if !self.unified() {
            return Ok(());
        }
        let mut folder = self.root.clone();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            fs::write(folder.join("cgroup.subtree_control"), "+cpu +memory +pids")?;
            folder.push(part);
            fs::create_dir_all(&folder)?;
        }
        set_limits(&folder, wanted)
    }
}

fn set_limits(folder: &Path, wanted: &LinuxContainerResources) -> io::Result<()> {
    fs::write(folder.join("cpu.weight"), resources::weight(wanted.cpu_shares).to_string())?;
    if wanted.cpu_quota > 0 {
        fs::write(folder.join("cpu.max"), format!("{} {}", wanted.cpu_quota, wanted.cpu_period))?;
    }
    if wanted.memory_limit_in_bytes > 0 {
        fs::write(folder.join("memory.max"), wanted.memory_limit_in_bytes.to_string())?;
    }
    Ok(())
}

fn class(pod: &Pod) -> Option<&'static str> {
    match Qos::of(pod) {
        Qos::Guaranteed => None,
        Qos::Burstable => Some("burstable"),
        Qos::BestEffort => Some("besteffort"),
    }
}

/// In names of slices a dash means "below", so those of the uid become underscores.
fn slice(class: Option<&str>, uid: &str) -> String {
    let uid = uid.replace('-', "_");
    class.map_or_else(|| format!("kubepods-pod{uid}.slice"), |class| format!("kubepods-{class}-pod{uid}.slice"))
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The call that starts a slice with limits, in the words of `busctl`.
fn start_arguments(unit: &str, wanted: &LinuxContainerResources) -> Vec<String> {
    let mut properties = vec![("CPUWeight", "t", resources::weight(wanted.cpu_shares).to_string())];
    if wanted.cpu_quota > 0 {
        properties.push((
            "CPUQuotaPerSecUSec",
            "t",
            (wanted.cpu_quota * 1_000_000 / wanted.cpu_period.max(1)).to_string(),
        ));
    }
    if wanted.memory_limit_in_bytes > 0 {
        properties.push(("MemoryMax", "t", wanted.memory_limit_in_bytes.to_string()));
    }
    for accounting in ["CPUAccounting", "MemoryAccounting", "TasksAccounting"] {
        properties.push((accounting, "b", "true".to_owned()));
    }
    properties.push(("DefaultDependencies", "b", "false".to_owned()));
    let mut arguments: Vec<String> =
        ["StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "replace"].iter().map(|text| (*text).to_owned()).collect();
    arguments.push(properties.len().to_string());
    for (name, kind, value) in properties {
        arguments.extend([name.to_owned(), kind.to_owned(), value]);
    }
    arguments.push("0".to_owned());
    arguments
}

/// The call that changes the weight of a slice until the next start of the system, in the words of `busctl`.
fn weight_arguments(unit: &str, weight: i64) -> Vec<String> {
    let weight = weight.to_string();
    let words = ["SetUnitProperties", "sba(sv)", unit, "true", "1", "CPUWeight", "t", &weight];
    words.iter().map(|word| (*word).to_owned()).collect()
}

async fn bus(arguments: &[String]) -> io::Result<()> {
    const MANAGER: [&str; 4] =
        ["call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];
    let output = tokio::process::Command::new("busctl").args(MANAGER).args(arguments).output().await?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || complaint.contains("already exists") || complaint.contains("already loaded") {
        return Ok(());
    }
    Err(io::Error::other(complaint.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::sandbox::tests::pod;

    #[test]
    fn groups_are_named_as_upstream_names_them() {
        let burstable = pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}));
        let systemd = Cgroups::new(Driver::Systemd, "/sys/fs/cgroup");
        assert_eq!(
            systemd.of_pod(&burstable),
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podu_1.slice"
        );
        let guaranteed =
            pod(json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}));
        assert_eq!(systemd.of_pod(&guaranteed), "/kubepods.slice/kubepods-podu_1.slice");
        assert_eq!(Cgroups::new(Driver::Cgroupfs, "/").of_pod(&burstable), "/kubepods/burstable/podu-1");
    }

    #[test]
    fn slices_are_asked_for_with_their_limits() {
        let wanted = LinuxContainerResources {
            cpu_shares: 1024,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            memory_limit_in_bytes: 4096,
            ..Default::default()
        };
        let words = start_arguments("kubepods-podx.slice", &wanted).join(" ");
        assert!(words.starts_with("StartTransientUnit ssa(sv)a(sa(sv)) kubepods-podx.slice replace 7 CPUWeight t 100 CPUQuotaPerSecUSec t 500000 MemoryMax t 4096"), "{words}");
        assert!(words.ends_with("DefaultDependencies b false 0"), "{words}");
    }

    #[tokio::test]
    async fn classes_are_weighed_by_what_they_ask_for_and_only_when_that_changes() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpu").unwrap();
        let groups = Cgroups::new(Driver::Cgroupfs, root.path());
        let weight = |path: &str| fs::read_to_string(root.path().join(path).join("cpu.weight")).ok();
        groups.weigh(2000, || 500).await.unwrap();
        assert_eq!(weight("kubepods/burstable"), None, "there is no pod of this class yet");
        fs::create_dir_all(root.path().join("kubepods/burstable")).unwrap();
        fs::create_dir_all(root.path().join("kubepods/besteffort")).unwrap();
        groups.weigh(2000, || 500).await.unwrap();
        assert_eq!(weight("kubepods").as_deref(), Some("174"));
        assert_eq!(weight("kubepods/burstable").as_deref(), Some("59"));
        assert_eq!(weight("kubepods/besteffort").as_deref(), Some("1"));
        fs::remove_file(root.path().join("kubepods/cpu.weight")).unwrap();
        groups.weigh(2000, || 1000).await.unwrap();
        assert_eq!((weight("kubepods"), weight("kubepods/burstable").as_deref()), (None, Some("100")));
        assert_eq!(
            weight_arguments("kubepods-burstable.slice", 20).join(" "),
            "SetUnitProperties sba(sv) kubepods-burstable.slice true 1 CPUWeight t 20"
        );
    }

    #[tokio::test]
    async fn who_waits_to_weigh_takes_the_amount_of_the_moment_it_begins() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpu").unwrap();
        fs::create_dir_all(root.path().join("kubepods/burstable")).unwrap();
        let groups = Cgroups::new(Driver::Cgroupfs, root.path());
        let amount = std::sync::atomic::AtomicI64::new(500);
        let busy = groups.weighing.clone().lock_owned().await;
        let admit = async {
            tokio::task::yield_now().await;
            amount.store(1000, std::sync::atomic::Ordering::Relaxed);
            drop(busy);
        };
        let (weighed, ()) =
            tokio::join!(groups.weigh(2000, || amount.load(std::sync::atomic::Ordering::Relaxed)), admit);
        weighed.unwrap();
        assert_eq!(fs::read_to_string(root.path().join("kubepods/burstable/cpu.weight")).unwrap(), "100");
    }

    #[test]
    fn folders_carry_the_limits() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpu").unwrap();
        let wanted = LinuxContainerResources { cpu_shares: 2, memory_limit_in_bytes: 5, ..Default::default() };
        Cgroups::new(Driver::Cgroupfs, root.path()).make_folders("/kubepods/podx", &wanted).unwrap();
        let folder = root.path().join("kubepods/podx");
        assert_eq!(fs::read_to_string(folder.join("memory.max")).unwrap(), "5");
        assert_eq!(fs::read_to_string(folder.join("cpu.weight")).unwrap(), "1");
    }
}
