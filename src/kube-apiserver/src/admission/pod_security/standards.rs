//! The Pod Security Standards: every check with the versions it changed in. A new check is one row here.

mod baseline;
mod pod;
mod restricted;

pub(super) use pod::Pod;

use super::policy::{Level, Standard};

/// What is wrong with a pod: briefly, and with names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    reason: String,
    detail: String,
}

impl Violation {
    fn new(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { reason: reason.into(), detail: detail.into() }
    }
}

/// Finds what is wrong in one respect.
type Test = fn(&Pod<'_>) -> Option<Violation>;

/// One control of the standards.
struct Check {
    id: &'static str,
    level: Level,
    /// The minor versions from which a form of the check holds, oldest first.
    versions: &'static [(u32, Test)],
    /// Checks of the baseline that are contained in this one.
    overrides: &'static [&'static str],
}

const fn baseline(id: &'static str, versions: &'static [(u32, Test)]) -> Check {
    Check { id, level: Level::Baseline, versions, overrides: &[] }
}

const fn restricted(id: &'static str, versions: &'static [(u32, Test)], overrides: &'static [&'static str]) -> Check {
    Check { id, level: Level::Restricted, versions, overrides }
}

/// All controls, in the order they are told of.
const CHECKS: &[Check] = &[
    baseline("appArmorProfile", &[(0, baseline::app_armor)]),
    baseline("capabilities_baseline", &[(0, baseline::capabilities)]),
    baseline("hostNamespaces", &[(0, baseline::host_namespaces)]),
    baseline("hostPathVolumes", &[(0, baseline::host_paths)]),
    baseline("hostPorts", &[(0, baseline::host_ports)]),
    baseline("hostProbesAndHostLifecycle", &[(34, baseline::host_probes)]),
    baseline("privileged", &[(0, baseline::privileged)]),
    baseline("procMount", &[(0, baseline::proc_mount), (35, baseline::proc_mount_on_host)]),
    baseline("seLinuxOptions", &[(0, baseline::se_linux), (31, baseline::se_linux_engine)]),
    baseline("seccompProfile_baseline", &[(0, baseline::seccomp_annotations), (19, baseline::seccomp)]),
    baseline(
        "sysctls",
        &[
            (0, |pod| baseline::sysctls(pod, 0)),
            (27, |pod| baseline::sysctls(pod, 27)),
            (29, |pod| baseline::sysctls(pod, 29)),
            (32, |pod| baseline::sysctls(pod, 32)),
        ],
    ),
    baseline("windowsHostProcess", &[(0, baseline::windows_host_process)]),
    restricted(
        "allowPrivilegeEscalation",
        &[(8, restricted::escalation), (25, |pod| not_on_windows(pod, restricted::escalation))],
        &[],
    ),
    restricted(
        "capabilities_restricted",
        &[(22, restricted::capabilities), (25, |pod| not_on_windows(pod, restricted::capabilities))],
        &["capabilities_baseline"],
    ),
    restricted("procMount_restricted", &[(35, baseline::proc_mount)], &["procMount"]),
    restricted("restrictedVolumes", &[(0, restricted::volumes)], &["hostPathVolumes"]),
    restricted(
        "runAsNonRoot",
        &[(0, restricted::non_root), (35, |pod| not_in_user_namespace(pod, restricted::non_root))],
        &[],
    ),
    restricted("runAsUser", &[(23, restricted::user), (35, |pod| not_in_user_namespace(pod, restricted::user))], &[]),
    restricted(
        "seccompProfile_restricted",
        &[(19, restricted::seccomp), (25, |pod| not_on_windows(pod, restricted::seccomp))],
        &["seccompProfile_baseline"],
    ),
];

/// Windows knows no such thing, and validation refuses it there.
fn not_on_windows(pod: &Pod<'_>, test: Test) -> Option<Violation> {
    if pod.is_windows() { None } else { test(pod) }
}

/// Root of a user namespace is nobody on the host.
fn not_in_user_namespace(pod: &Pod<'_>, test: Test) -> Option<Violation> {
    if pod.has_user_namespace() { None } else { test(pod) }
}

impl Check {
    fn test(&self, minor: u32) -> Option<Test> {
        self.versions.iter().rev().find(|(since, _)| *since <= minor).map(|(_, test)| *test)
    }
}

/// Everything about a pod that a standard refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Violations(Vec<Violation>);

impl Violations {
    /// Looks at a pod.
    pub(super) fn of(standard: Standard, pod: &Pod<'_>) -> Self {
        let minor = standard.version.minor();
        let held: Vec<(&Check, Test)> = CHECKS
            .iter()
            .filter(|check| check.level <= standard.level)
            .filter_map(|check| Some((check, check.test(minor)?)))
            .collect();
        let overridden = |id: &str| held.iter().any(|(check, _)| check.overrides.contains(&id));
        let tests = held.iter().filter(|(check, _)| !overridden(check.id));
        Self(tests.filter_map(|(_, test)| test(pod)).collect())
    }

    /// True if the standard is met.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Briefly.
    pub(super) fn reasons(&self) -> String {
        self.0.iter().map(|violation| violation.reason.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// With the names of containers and values.
    pub(super) fn details(&self) -> String {
        let told = self.0.iter().map(|Violation { reason, detail }| match detail.as_str() {
            "" => reason.clone(),
            detail => format!("{reason} ({detail})"),
        });
        told.collect::<Vec<_>>().join(", ")
    }
}

/// The singular for one, else the plural.
fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// Items in quotes, joined by commas.
fn quoted<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect::<Vec<_>>().join(", ")
}

/// `container "a"`, `containers "a", "b"`.
fn containers(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

/// Who set something: the pod, its containers, or both.
fn setters(by_pod: bool, names: &[&str]) -> String {
    let mut setters = Vec::new();
    if by_pod {
        setters.push("pod".to_owned());
    }
    if !names.is_empty() {
        setters.push(containers(names));
    }
    setters.join(" and ")
}

#[cfg(test)]
mod tests;
