use apimachinery::{Object, Value, value};

use super::super::policy::Version;
use super::*;

/// A pod that meets the restricted level of this version.
fn hardened() -> Object {
    Object::try_from(value!({
        "metadata": {"name": "p"},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            }}],
        },
    }))
    .unwrap()
}

fn judged(level: Level, version: Version, changes: &[(&str, Value)]) -> String {
    let mut pod = hardened();
    for (path, value) in changes {
        let path: Vec<&str> = path.split('/').collect();
        pod.set_at(&path, value.clone());
    }
    Violations::of(Standard { level, version }, &Pod::of(&pod)).details()
}

#[test]
fn a_hardened_pod_meets_every_level_of_every_version() {
    for minor in 0..=super::super::policy::CURRENT_MINOR {
        for level in [Level::Privileged, Level::Baseline, Level::Restricted] {
            assert_eq!(judged(level, Version::Minor(minor), &[]), "", "{level:?} v1.{minor}");
        }
    }
}

#[test]
fn the_baseline_refuses_what_leads_to_the_host() {
    let check = |path: &str, value: Value, expected: &str| {
        let changes = [(path, value)];
        assert_eq!(judged(Level::Privileged, Version::Latest, &changes), "");
        assert_eq!(judged(Level::Baseline, Version::Latest, &changes), expected);
        assert!(!judged(Level::Restricted, Version::Latest, &changes).is_empty());
    };
    check("spec/hostNetwork", true.into(), "host namespaces (hostNetwork=true)");
    check("spec/hostPID", true.into(), "host namespaces (hostPID=true)");
    check("spec/volumes", value!([{"name": "v", "hostPath": {"path": "/"}}]), "hostPath volumes (volume \"v\")");
    let container = "spec/containers/0/";
    let on_container =
        |field: &str, value: Value, expected: &str| check(&format!("{container}{field}"), value, expected);
    on_container(
        "ports",
        value!([{"hostPort": 80}, {"hostPort": 443}, {"containerPort": 1}]),
        "hostPort (container \"c\" uses hostPorts 443, 80)",
    );
    on_container(
        "securityContext/privileged",
        true.into(),
        "privileged (container \"c\" must not set securityContext.privileged=true)",
    );
    on_container(
        "securityContext/capabilities/add",
        value!(["SYS_ADMIN", "CHOWN", "NET_RAW"]),
        "non-default capabilities (container \"c\" must not include \"NET_RAW\", \"SYS_ADMIN\" in \
         securityContext.capabilities.add)",
    );
    on_container(
        "securityContext/procMount",
        "Unmasked".into(),
        "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
    );
    on_container(
        "livenessProbe",
        value!({"httpGet": {"host": "10.0.0.1", "port": 1}}),
        "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"10.0.0.1\")",
    );
    on_container(
        "securityContext/seLinuxOptions",
        value!({"type": "spc_t", "user": "u"}),
        "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)",
    );
}

#[test]
fn the_baseline_looks_at_the_settings_of_the_whole_pod() {
    let check = |path: &str, value: Value, expected: &str| {
        assert_eq!(judged(Level::Baseline, Version::Latest, &[(path, value)]), expected);
    };
    check(
        "spec/securityContext/seccompProfile/type",
        "Unconfined".into(),
        "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
    );
    check(
        "spec/securityContext/appArmorProfile",
        value!({"type": "Unconfined"}),
        "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
    );
    check(
        "metadata/annotations",
        value!({"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}),
        "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
         \"container.apparmor.security.beta.kubernetes.io/c=\"unconfined\"\")",
    );
    check(
        "spec/securityContext/sysctls",
        value!([{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]),
        "forbidden sysctls (kernel.msgmax)",
    );
    check(
        "spec/securityContext/windowsOptions",
        value!({"hostProcess": true}),
        "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
    );
}

#[test]
fn the_restricted_level_wants_to_be_told() {
    let check = |path: &str, value: Value, expected: &str| {
        let changes = [(path, value)];
        assert_eq!(judged(Level::Baseline, Version::Latest, &changes), "");
        assert_eq!(judged(Level::Restricted, Version::Latest, &changes), expected);
    };
    check(
        "spec/containers/0/securityContext",
        Value::Null,
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"])",
    );
    check(
        "spec/securityContext",
        Value::map(),
        "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
         \"Localhost\")",
    );
    check(
        "spec/securityContext/runAsNonRoot",
        false.into(),
        "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)",
    );
    check(
        "spec/containers/0/securityContext/runAsUser",
        0.into(),
        "runAsUser=0 (container \"c\" must not set runAsUser=0)",
    );
    check(
        "spec/volumes",
        value!([{"name": "a", "nfs": {}}, {"name": "b", "emptyDir": {}}, {"name": "c", "iscsi": {}}]),
        "restricted volume types (volumes \"a\", \"c\" use restricted volume types \"iscsi\", \"nfs\")",
    );
    check(
        "spec/containers/0/securityContext/capabilities/add",
        value!(["NET_BIND_SERVICE", "CHOWN"]),
        "unrestricted capabilities (container \"c\" must not include \"CHOWN\" in securityContext.capabilities.add)",
    );
}

#[test]
fn a_control_holds_from_the_version_it_came_with() {
    let check = |level: Level, minor: u32, path: &str, value: &Value, refused: bool| {
        let seen = judged(level, Version::Minor(minor), &[(path, value.clone())]);
        assert_eq!(!seen.is_empty(), refused, "{path} v1.{minor}: {seen}");
    };
    let reserved = value!([{"name": "net.ipv4.ip_local_reserved_ports"}]);
    check(Level::Baseline, 26, "spec/securityContext/sysctls", &reserved, true);
    check(Level::Baseline, 27, "spec/securityContext/sysctls", &reserved, false);
    let probe = value!({"tcpSocket": {"host": "h"}});
    check(Level::Baseline, 33, "spec/containers/0/readinessProbe", &probe, false);
    check(Level::Baseline, 34, "spec/containers/0/readinessProbe", &probe, true);
    let engine = value!({"type": "container_engine_t"});
    check(Level::Baseline, 30, "spec/securityContext/seLinuxOptions", &engine, true);
    check(Level::Baseline, 31, "spec/securityContext/seLinuxOptions", &engine, false);
    let caps = value!({"allowPrivilegeEscalation": false});
    check(Level::Restricted, 21, "spec/containers/0/securityContext", &caps, false);
    check(Level::Restricted, 22, "spec/containers/0/securityContext", &caps, true);
    // A version to come is this one.
    check(Level::Restricted, 99, "spec/containers/0/securityContext", &caps, true);
}

#[test]
fn root_of_a_user_namespace_is_no_root() {
    let root = [("spec/securityContext/runAsUser", Value::from(0)), ("spec/hostUsers", false.into())];
    assert_eq!(judged(Level::Restricted, Version::Minor(35), &root), "");
    assert!(judged(Level::Restricted, Version::Minor(34), &root).contains("runAsUser=0"));
    let unmasked =
        [("spec/containers/0/securityContext/procMount", "Unmasked".into()), ("spec/hostUsers", false.into())];
    assert_eq!(judged(Level::Baseline, Version::Latest, &unmasked), "");
    assert!(judged(Level::Restricted, Version::Latest, &unmasked).starts_with("procMount"));
}
