//! The controls of the baseline: what is known to lead from a container to the host.

use std::collections::BTreeSet;

use apimachinery::value::{Map, Value};

use super::pod::{Container, Pod, items, texts, within};
use super::{Violation, containers, plural, quoted, setters};

/// Names of the containers a predicate picks.
fn names<'a>(pod: &Pod<'a>, pick: impl Fn(Container<'a>) -> bool) -> Vec<&'a str> {
    pod.containers().filter(|container| pick(*container)).map(Container::name).collect()
}

fn refuse_containers(names: &[&str], reason: &str, what: &str) -> Option<Violation> {
    (!names.is_empty()).then(|| Violation::new(reason, format!("{} {what}", containers(names))))
}

pub(super) fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let bad = |context: &Map| {
        let profile = context.get("appArmorProfile").and_then(Value::as_map)?;
        let kind = profile.str("type");
        (!matches!(kind, "RuntimeDefault" | "Localhost")).then(|| kind.to_owned())
    };
    let mut values: BTreeSet<String> = pod.containers().filter_map(|container| bad(container.security())).collect();
    let by_pod = bad(pod.security());
    let named = names(pod, |container| bad(container.security()).is_some());
    let mut setters = setters(by_pod.is_some(), &named);
    values.extend(by_pod);
    let mut annotations: Vec<String> = pod
        .annotations()
        .strings()
        .filter(|(key, _)| key.starts_with("container.apparmor.security.beta.kubernetes.io/"))
        .filter(|(_, value)| !value.is_empty() && *value != "runtime/default" && !value.starts_with("localhost/"))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    if !annotations.is_empty() {
        annotations.sort();
        let and = if setters.is_empty() { "" } else { " and " };
        setters = format!("{setters}{and}{}", plural(annotations.len(), "annotation", "annotations"));
    }
    if setters.is_empty() {
        return None;
    }
    let all: Vec<String> = values.into_iter().chain(annotations).collect();
    let reason = plural(all.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles");
    Some(Violation::new(reason, format!("{setters} must not set AppArmor profile type to {}", quoted(&all))))
}

/// What container runtimes give by default.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

pub(super) fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let added = |container: Container<'_>| {
        let context = within(container.security(), "capabilities");
        texts(context, "add").filter(|name| !CAPABILITIES.contains(name)).map(str::to_owned).collect::<Vec<_>>()
    };
    let values: BTreeSet<String> = pod.containers().flat_map(added).collect();
    let what = format!("must not include {} in securityContext.capabilities.add", quoted(values));
    refuse_containers(&names(pod, |container| !added(container).is_empty()), "non-default capabilities", &what)
}

pub(super) fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|key| pod.flag(key))
        .map(|key| format!("{key}=true"))
        .collect();
    (!shared.is_empty()).then(|| Violation::new("host namespaces", shared.join(", ")))
}

pub(super) fn host_paths(pod: &Pod<'_>) -> Option<Violation> {
    let set = |volume: &&Map| volume.get("hostPath").is_some_and(|source| !source.is_null());
    let bad: Vec<&str> = pod.volumes().filter(set).map(|volume| volume.str("name")).collect();
    let volumes = plural(bad.len(), "volume", "volumes");
    (!bad.is_empty()).then(|| Violation::new("hostPath volumes", format!("{volumes} {}", quoted(&bad))))
}

pub(super) fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let used = |container: Container<'_>| {
        let number = |port: &Map| port.get("hostPort").and_then(Value::as_i64).filter(|number| *number != 0);
        container.ports().filter_map(number).map(|number| number.to_string()).collect::<Vec<_>>()
    };
    let ports: BTreeSet<String> = pod.containers().flat_map(used).collect();
    let bad = names(pod, |container| !used(container).is_empty());
    let what = format!(
        "{} {} {}",
        plural(bad.len(), "uses", "use"),
        plural(ports.len(), "hostPort", "hostPorts"),
        ports.into_iter().collect::<Vec<_>>().join(", ")
    );
    refuse_containers(&bad, "hostPort", &what)
}

/// The hosts that probes and hooks of a container name.
fn hosts(container: Container<'_>) -> Vec<String> {
    let lifecycle = container.part("lifecycle");
    let handlers = ["livenessProbe", "readinessProbe", "startupProbe"]
        .map(|probe| container.part(probe))
        .into_iter()
        .chain(["postStart", "preStop"].map(|hook| within(lifecycle, hook)));
    handlers
        .flat_map(|handler| ["httpGet", "tcpSocket"].map(|action| within(handler, action).str("host")))
        .filter(|host| !host.is_empty())
        .map(str::to_owned)
        .collect()
}

pub(super) fn host_probes(pod: &Pod<'_>) -> Option<Violation> {
    let all: BTreeSet<String> = pod.containers().flat_map(hosts).collect();
    let mut bad = names(pod, |container| !hosts(container).is_empty());
    bad.sort_unstable();
    bad.dedup();
    let what = format!(
        "{} {} {}",
        plural(bad.len(), "uses", "use"),
        plural(all.len(), "probe or lifecycle host", "probe or lifecycle hosts"),
        quoted(all)
    );
    refuse_containers(&bad, "probe or lifecycle host", &what)
}

pub(super) fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let bad = names(pod, |container| container.security().get("privileged") == Some(&Value::Bool(true)));
    refuse_containers(&bad, "privileged", "must not set securityContext.privileged=true")
}

pub(super) fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let set = |container: Container<'_>| match container.security().str("procMount") {
        "" | "Default" => None,
        other => Some(other.to_owned()),
    };
    let values: BTreeSet<String> = pod.containers().filter_map(set).collect();
    let what = format!("must not set securityContext.procMount to {}", quoted(values));
    refuse_containers(&names(pod, |container| set(container).is_some()), "procMount", &what)
}

/// In a user namespace `/proc` may be unmasked.
pub(super) fn proc_mount_on_host(pod: &Pod<'_>) -> Option<Violation> {
    super::not_in_user_namespace(pod, proc_mount)
}

pub(super) fn se_linux(pod: &Pod<'_>) -> Option<Violation> {
    se_linux_of(pod, &["", "container_t", "container_init_t", "container_kvm_t"])
}

pub(super) fn se_linux_engine(pod: &Pod<'_>) -> Option<Violation> {
    se_linux_of(pod, &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"])
}

fn se_linux_of(pod: &Pod<'_>, types: &[&str]) -> Option<Violation> {
    let options = |context| within(context, "seLinuxOptions");
    let is_bad = |options: &Map| {
        !types.contains(&options.str("type")) || !options.str("user").is_empty() || !options.str("role").is_empty()
    };
    let by_pod = is_bad(options(pod.security()));
    let named = names(pod, |container| is_bad(options(container.security())));
    if !by_pod && named.is_empty() {
        return None;
    }
    let all: Vec<&Map> =
        std::iter::once(pod.security()).chain(pod.containers().map(Container::security)).map(options).collect();
    let bad_types: BTreeSet<&str> =
        all.iter().map(|options| options.str("type")).filter(|kind| !types.contains(kind)).collect();
    let mut data = Vec::new();
    if !bad_types.is_empty() {
        data.push(format!("{} {}", plural(bad_types.len(), "type", "types"), quoted(bad_types)));
    }
    for key in ["user", "role"] {
        if all.iter().any(|options| !options.str(key).is_empty()) {
            data.push(format!("{key} may not be set"));
        }
    }
    let told = format!("{} set forbidden securityContext.seLinuxOptions: {}", setters(by_pod, &named), data.join("; "));
    Some(Violation::new("seLinuxOptions", told))
}

/// Before v1.19 seccomp profiles were annotations.
pub(super) fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    let fine = |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let keys = std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_owned())
        .chain(pod.containers().map(|one| format!("container.seccomp.security.alpha.kubernetes.io/{}", one.name())));
    let bad: BTreeSet<String> = keys
        .filter_map(|key| {
            let value = pod.annotations().get(&key)?.as_str()?;
            (!fine(value)).then(|| format!("{key}={value:?}"))
        })
        .collect();
    let noun = plural(bad.len(), "annotation", "annotations");
    let list = bad.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    (!bad.is_empty()).then(|| Violation::new("seccompProfile", format!("forbidden {noun} {list}")))
}

/// The seccomp profile type of a security context, if it is none of those allowed.
pub(super) fn bad_seccomp(context: &Map) -> Option<String> {
    let profile = context.get("seccompProfile").and_then(Value::as_map)?;
    let kind = profile.str("type");
    (!matches!(kind, "RuntimeDefault" | "Localhost")).then(|| kind.to_owned())
}

pub(super) fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    let by_pod = bad_seccomp(pod.security());
    let named = names(pod, |container| bad_seccomp(container.security()).is_some());
    let setters = setters(by_pod.is_some(), &named);
    if setters.is_empty() {
        return None;
    }
    let mut values: BTreeSet<String> =
        pod.containers().filter_map(|container| bad_seccomp(container.security())).collect();
    values.extend(by_pod);
    let told = format!("{setters} must not set securityContext.seccompProfile.type to {}", quoted(values));
    Some(Violation::new("seccompProfile", told))
}

/// Kernel parameters that are kept apart for each pod, with the minor version since when.
const SYSCTLS: &[(u32, &str)] = &[
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
];

pub(super) fn sysctls(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    let known = |name: &str| SYSCTLS.iter().any(|(since, safe)| *since <= minor && *safe == name);
    let bad: Vec<&str> =
        items(pod.security(), "sysctls").map(|sysctl| sysctl.str("name")).filter(|name| !known(name)).collect();
    (!bad.is_empty()).then(|| Violation::new("forbidden sysctls", bad.join(", ")))
}

pub(super) fn windows_host_process(pod: &Pod<'_>) -> Option<Violation> {
    let set = |context: &Map| within(context, "windowsOptions").get("hostProcess") == Some(&Value::Bool(true));
    let named = names(pod, |container| set(container.security()));
    let setters = setters(set(pod.security()), &named);
    (!setters.is_empty()).then(|| {
        Violation::new("hostProcess", format!("{setters} must not set securityContext.windowsOptions.hostProcess=true"))
    })
}
