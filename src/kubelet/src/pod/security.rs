//! Security contexts as the runtime understands them.

use std::path::Path;

use cri::api::security_profile::ProfileType;
use cri::api::{
    Capability, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption,
    SeLinuxOption, SecurityProfile,
};
use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile, SecurityContext};

/// Paths that ordinary containers must not read.
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
];
/// Paths that ordinary containers must not write.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Why a container must not be started as it is described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecurityError {
    /// The image runs as root and the pod forbids that.
    #[error("container has runAsNonRoot and image will run as root")]
    Root,
    /// The image names its user by a word, so nobody can tell whether that is root.
    #[error("container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root")]
    NamedUser {
        /// The user of the image.
        user: String,
    },
}

fn pod_context(pod: &Pod) -> Option<&PodSecurityContext> {
    pod.spec.as_ref()?.security_context.as_ref()
}

/// Which namespaces of the node the pod shares.
pub fn namespaces(pod: &Pod) -> NamespaceOption {
    let Some(spec) = &pod.spec else {
        return NamespaceOption::default();
    };
    let node_or =
        |shared: Option<bool>, own: NamespaceMode| if shared == Some(true) { NamespaceMode::Node } else { own } as i32;
    let pid = if spec.share_process_namespace == Some(true) { NamespaceMode::Pod } else { NamespaceMode::Container };
    NamespaceOption {
        network: node_or(spec.host_network, NamespaceMode::Pod),
        pid: node_or(spec.host_pid, pid),
        ipc: node_or(spec.host_ipc, NamespaceMode::Pod),
        ..Default::default()
    }
}

/// The security context of the sandbox.
pub fn of_sandbox(pod: &Pod) -> LinuxSandboxSecurityContext {
    let context = pod_context(pod);
    let containers =
        pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        privileged: containers
            .filter_map(|container| container.security_context.as_ref())
            .any(|own| own.privileged == Some(true)),
        run_as_user: context.and_then(|context| context.run_as_user).map(int),
        run_as_group: context.and_then(|context| context.run_as_group).map(int),
        supplemental_groups: groups(context),
        selinux_options: context.and_then(|context| context.se_linux_options.as_ref()).map(selinux),
        seccomp: Some(SecurityProfile {
            profile_type: ProfileType::RuntimeDefault as i32,
            localhost_ref: String::new(),
        }),
        ..Default::default()
    }
}

/// The security context of one container; `seccomp_root` holds the profiles of the node.
pub fn of_container(pod: &Pod, container: &Container, seccomp_root: &Path) -> LinuxContainerSecurityContext {
    let of_pod = pod_context(pod);
    let own = container.security_context.as_ref();
    let privileged = own.and_then(|own| own.privileged).unwrap_or(false);
    let user = own.and_then(|own| own.run_as_user).or_else(|| of_pod?.run_as_user);
    let group = own.and_then(|own| own.run_as_group).or_else(|| of_pod?.run_as_group);
    let profile = own.and_then(|own| own.seccomp_profile.as_ref()).or_else(|| of_pod?.seccomp_profile.as_ref());
    let open_proc = own.and_then(|own| own.proc_mount.as_deref()) == Some("Unmasked");
    let paths = |list: &[&str]| {
        if open_proc || privileged { Vec::new() } else { list.iter().map(|path| (*path).to_owned()).collect() }
    };
    LinuxContainerSecurityContext {
        capabilities: Some(capabilities(own)),
        privileged,
        namespace_options: Some(namespaces(pod)),
        run_as_user: user.map(int),
        run_as_group: group.map(int),
        readonly_rootfs: own.and_then(|own| own.read_only_root_filesystem).unwrap_or(false),
        supplemental_groups: groups(of_pod),
        no_new_privs: own.and_then(|own| own.allow_privilege_escalation) == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(seccomp(profile, privileged, seccomp_root)),
        selinux_options: own
            .and_then(|own| own.se_linux_options.as_ref())
            .or_else(|| of_pod?.se_linux_options.as_ref())
            .map(selinux),
        ..Default::default()
    }
}

fn int(value: i64) -> Int64Value {
    Int64Value { value }
}

fn groups(context: Option<&PodSecurityContext>) -> Vec<i64> {
    let Some(context) = context else {
        return Vec::new();
    };
    context.supplemental_groups.iter().flatten().copied().chain(context.fs_group).collect()
}

fn capabilities(own: Option<&SecurityContext>) -> Capability {
    let wanted = own.and_then(|own| own.capabilities.as_ref());
    Capability {
        add_capabilities: wanted.and_then(|wanted| wanted.add.clone()).unwrap_or_default(),
        drop_capabilities: wanted.and_then(|wanted| wanted.drop.clone()).unwrap_or_default(),
        add_ambient_capabilities: Vec::new(),
    }
}

fn seccomp(profile: Option<&SeccompProfile>, privileged: bool, root: &Path) -> SecurityProfile {
    let kind = profile.map_or("Unconfined", |profile| profile.type_.as_str());
    let plain = |kind: ProfileType| SecurityProfile { profile_type: kind as i32, localhost_ref: String::new() };
    match kind {
        _ if privileged => plain(ProfileType::Unconfined),
        "RuntimeDefault" => plain(ProfileType::RuntimeDefault),
        "Localhost" => {
            let name = profile.and_then(|profile| profile.localhost_profile.as_deref()).unwrap_or_default();
            SecurityProfile {
                profile_type: ProfileType::Localhost as i32,
                localhost_ref: root.join(name).display().to_string(),
            }
        }
        _ => plain(ProfileType::Unconfined),
    }
}

fn selinux(options: &SELinuxOptions) -> SeLinuxOption {
    SeLinuxOption {
        user: options.user.clone().unwrap_or_default(),
        role: options.role.clone().unwrap_or_default(),
        r#type: options.type_.clone().unwrap_or_default(),
        level: options.level.clone().unwrap_or_default(),
    }
}

/// Holds `runAsNonRoot` against the user of the image.
pub fn verify_user(
    pod: &Pod,
    container: &Container,
    image_uid: Option<i64>,
    image_user: &str,
) -> Result<(), SecurityError> {
    let of_pod = pod_context(pod);
    let own = container.security_context.as_ref();
    let non_root = own.and_then(|own| own.run_as_non_root).or_else(|| of_pod?.run_as_non_root).unwrap_or(false);
    if !non_root {
        return Ok(());
    }
    match own.and_then(|own| own.run_as_user).or_else(|| of_pod?.run_as_user).or(image_uid) {
        Some(0) => Err(SecurityError::Root),
        Some(_) => Ok(()),
        None if image_user.is_empty() => Err(SecurityError::Root),
        None => Err(SecurityError::NamedUser { user: image_user.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::identity;
    use crate::pod::sandbox::tests::pod;

    #[test]
    fn the_containers_word_wins_over_the_pods() {
        let pod = pod(json!({
            "securityContext": {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4], "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "securityContext": {"runAsUser": 9, "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}, "allowPrivilegeEscalation": false}}],
        }));
        let context = of_container(&pod, &identity::containers(&pod)[0], Path::new("/seccomp"));
        assert_eq!(context.run_as_user.unwrap().value, 9);
        assert_eq!(context.run_as_group.unwrap().value, 2);
        assert_eq!(context.supplemental_groups, [4, 3]);
        assert!(context.no_new_privs);
        assert_eq!(context.seccomp.unwrap().profile_type, ProfileType::RuntimeDefault as i32);
        assert_eq!(context.capabilities.unwrap().drop_capabilities, ["ALL"]);
    }

    #[test]
    fn privileged_containers_are_not_confined() {
        let pod = pod(json!({"hostPID": true, "containers": [{"name": "c", "securityContext": {"privileged": true}}]}));
        let context = of_container(&pod, &identity::containers(&pod)[0], Path::new("/"));
        assert!(context.privileged && context.masked_paths.is_empty());
        assert_eq!(context.seccomp.unwrap().profile_type, ProfileType::Unconfined as i32);
        assert!(of_sandbox(&pod).privileged);
        assert_eq!(namespaces(&pod).pid, NamespaceMode::Node as i32);
    }

    #[test]
    fn root_is_refused_where_it_is_forbidden() {
        let pod = pod(json!({"securityContext": {"runAsNonRoot": true}, "containers": [{"name": "c"}]}));
        let verify = |uid, user: &str| verify_user(&pod, &identity::containers(&pod)[0], uid, user);
        assert_eq!(verify(Some(0), ""), Err(SecurityError::Root));
        assert_eq!(verify(None, ""), Err(SecurityError::Root));
        assert_eq!(verify(Some(7), ""), Ok(()));
        assert_eq!(verify(None, "www"), Err(SecurityError::NamedUser { user: "www".to_owned() }));
    }
}
