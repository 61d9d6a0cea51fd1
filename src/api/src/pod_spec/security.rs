//! The rules for security settings, of a whole pod and of one container.

use crate::check::{self, Errors};
use apimachinery::field::{FieldError, Path};
use apimachinery::value::{Map, Value};
use std::collections::HashSet;

/// Checks the settings for all containers.
pub(super) fn check_pod(errors: &mut Errors, path: &Path, spec: &Map) {
    let context = check::part(spec, "securityContext");
    let path = path.child("securityContext");
    check_ids(errors, &path, context, &["runAsUser", "runAsGroup", "fsGroup"]);
    for (index, id) in check::list(context, "supplementalGroups").iter().enumerate() {
        check_id(errors, &path.child("supplementalGroups").index(index), id.as_i64().unwrap_or_default());
    }
    for (key, known) in [
        ("fsGroupChangePolicy", ["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", ["Merge", "Strict"]),
        ("seLinuxChangePolicy", ["MountOption", "Recursive"]),
    ] {
        check::optional_one_of(errors, &path.child(key), context.str(key), &known);
    }
    check_sysctls(errors, &path.child("sysctls"), spec, context);
    check_profiles(errors, &path, context);
}

/// Checks the settings of one container; `host_users` is whether the pod shares the users of the host.
pub(super) fn check_container(errors: &mut Errors, path: &Path, context: &Map, host_users: bool) {
    let set = |key: &str| context.get(key).and_then(Value::as_bool);
    check_ids(errors, path, context, &["runAsUser", "runAsGroup"]);
    let mount = context.str("procMount");
    check::optional_one_of(errors, &path.child("procMount"), mount, &["Default", "Unmasked"]);
    if mount == "Unmasked" && host_users {
        let wrong = "`hostUsers` must be false to use `Unmasked`";
        errors.push(FieldError::invalid(path.child("procMount"), mount, wrong));
    }
    if set("allowPrivilegeEscalation") == Some(false) {
        let added = check::list(check::part(context, "capabilities"), "add");
        let admin = added.iter().any(|name| name.as_str() == Some("CAP_SYS_ADMIN"));
        for (is_wrong, what) in
            [(set("privileged") == Some(true), "`privileged` to true"), (admin, "`capabilities.Add` CAP_SYS_ADMIN")]
        {
            if is_wrong {
                let wrong = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
                errors.push(FieldError::invalid(path, Value::Map(context.clone()), wrong));
            }
        }
    }
    check_profiles(errors, path, context);
}

fn check_ids(errors: &mut Errors, path: &Path, context: &Map, keys: &[&str]) {
    for key in keys {
        if let Some(id) = check::number(context, key) {
            check_id(errors, &path.child(key), id);
        }
    }
}

fn check_id(errors: &mut Errors, path: &Path, id: i64) {
    check::between(errors, path, id, (0, i64::from(i32::MAX)));
}

fn check_sysctls(errors: &mut Errors, path: &Path, spec: &Map, context: &Map) {
    let shares = |key: &str| spec.get(key) == Some(&Value::Bool(true));
    let mut seen = HashSet::new();
    for (index, sysctl) in check::maps(context, "sysctls") {
        let path = path.index(index).child("name");
        let name = sysctl.str("name");
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if !is_sysctl(name) {
            let wrong = "must have at most 253 characters and match regex \
                ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.push(FieldError::invalid(&path, name, wrong));
        } else if !seen.insert(name.replace('/', ".")) {
            errors.push(FieldError::duplicate(&path, name));
        }
        let of_ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
        if name.starts_with("net.") && shares("hostNetwork") {
            errors.push(FieldError::invalid(&path, name, "may not be specified when 'hostNetwork' is true"));
        }
        if of_ipc.iter().any(|prefix| name.starts_with(prefix)) && shares("hostIPC") {
            errors.push(FieldError::invalid(&path, name, "may not be specified when 'hostIPC' is true"));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        let ends = bytes.first().zip(bytes.last()).is_some_and(|(first, last)| word(*first) && word(*last));
        ends && bytes.iter().all(|byte| word(*byte) || *byte == b'-' || *byte == b'_')
    };
    name.len() <= 253 && name.split(['.', '/']).all(part)
}

fn check_profiles(errors: &mut Errors, path: &Path, context: &Map) {
    for (key, what) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let Some(profile) = context.get(key).and_then(Value::as_map) else { continue };
        let path = path.child(key);
        let kind = profile.str("type");
        let known = ["Localhost", "RuntimeDefault", "Unconfined"];
        if kind.is_empty() {
            errors.push(FieldError::required(path.child("type"), format!("type is required when {key} is set")));
        } else {
            check::one_of(errors, &path.child("type"), kind, &known);
        }
        let path = path.child("localhostProfile");
        let local = profile.get("localhostProfile").and_then(Value::as_str);
        match (kind, local) {
            ("Localhost", None | Some("")) => {
                let wrong = format!("must be set when {what} type is Localhost");
                errors.push(FieldError::required(path, wrong));
            }
            ("Localhost", Some(local)) if key == "seccompProfile" => check::inner_path(errors, &path, local),
            ("Localhost", Some(local)) if local.trim() != local => {
                errors.push(FieldError::invalid(path, local, "must not be padded with whitespace"));
            }
            ("Localhost", Some(_)) | (_, None) => {}
            (_, Some(local)) => {
                let wrong = format!("can only be set when {what} type is Localhost");
                errors.push(FieldError::invalid(path, local, wrong));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apimachinery::value;

    fn pod_errors(spec: &Value) -> Vec<String> {
        let mut errors = Errors::new();
        check_pod(&mut errors, &Path::new("spec"), spec.as_map().unwrap());
        errors.iter().map(ToString::to_string).collect()
    }

    fn container_errors(context: &Value) -> Vec<String> {
        let mut errors = Errors::new();
        check_container(&mut errors, &Path::new("sc"), context.as_map().unwrap(), true);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn settings_of_pods_are_checked() {
        let check = |context: Value, expected: &[&str]| {
            assert_eq!(pod_errors(&value!({"hostNetwork": true, "securityContext": (context)})), expected);
        };
        check(value!({"runAsUser": 0, "supplementalGroups": [1], "sysctls": [{"name": "kernel.msgmax"}]}), &[]);
        check(
            value!({"fsGroup": (-1), "supplementalGroups": [4_294_967_296i64]}),
            &[
                "spec.securityContext.fsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                "spec.securityContext.supplementalGroups[0]: Invalid value: 4294967296: must be between 0 and 2147483647, inclusive",
            ],
        );
        check(
            value!({"sysctls": [{"name": "net.ipv4.x"}, {"name": "a.b"}, {"name": "a/b"}]}),
            &[
                r#"spec.securityContext.sysctls[0].name: Invalid value: "net.ipv4.x": may not be specified when 'hostNetwork' is true"#,
                r#"spec.securityContext.sysctls[2].name: Duplicate value: "a/b""#,
            ],
        );
        check(
            value!({"seccompProfile": {"type": "Localhost"}}),
            &[
                "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            ],
        );
        check(
            value!({"appArmorProfile": {"type": "RuntimeDefault", "localhostProfile": "x"}}),
            &[
                r#"spec.securityContext.appArmorProfile.localhostProfile: Invalid value: "x": can only be set when AppArmor type is Localhost"#,
            ],
        );
    }

    #[test]
    fn settings_of_containers_are_checked() {
        let check = |context: Value, expected: &[&str]| assert_eq!(container_errors(&context), expected);
        check(value!({"privileged": true}), &[]);
        check(
            value!({"procMount": "Unmasked"}),
            &[r#"sc.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`"#],
        );
        check(
            value!({"privileged": true, "allowPrivilegeEscalation": false}),
            &[
                r#"sc: Invalid value: {"privileged":true,"allowPrivilegeEscalation":false}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"#,
            ],
        );
        check(
            value!({"seccompProfile": {"type": "Localhost", "localhostProfile": "/etc/x"}}),
            &[r#"sc.seccompProfile.localhostProfile: Invalid value: "/etc/x": must be a relative path"#],
        );
    }
}
