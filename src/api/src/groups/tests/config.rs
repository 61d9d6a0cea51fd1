use super::{cells, defaulted, errors, object, row, update_errors};
use apimachinery::value;
use apimachinery::value::Value;

#[test]
fn secrets_take_plain_text_and_keep_only_its_encoding() {
    let mut secret = defaulted(
        "secrets",
        value!({"metadata": {"name": "a"}, "data": {"old": "eA==", "both": "eA=="}, "stringData": {"both": "pässword"}}),
    );
    (row("secrets").strategy.prepare_create)(&mut secret);
    assert_eq!(secret.str_at(&["type"]), "Opaque");
    assert_eq!(secret.get("stringData"), None);
    assert_eq!(secret.get("data"), Some(&value!({"old": "eA==", "both": "cMOkc3N3b3Jk"})));
    let shown = cells("secrets", secret.into_value());
    assert_eq!(shown, "Name=a Type=Opaque Data=2 Age=<unknown>");
}

#[test]
fn secrets_have_what_their_type_promises() {
    let check = |fields: Value, expected: &[&str]| assert_eq!(errors("secrets", fields), expected);
    check(value!({"data": {"a.b": "eA=="}}), &[]);
    check(value!({"type": "kubernetes.io/tls"}), &["data[tls.crt]: Required value", "data[tls.key]: Required value"]);
    check(
        value!({"type": "kubernetes.io/service-account-token"}),
        &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
    );
    let bad_key = errors("secrets", value!({"data": {"a/b": ""}}));
    assert!(
        bad_key[0].starts_with("data[a/b]: Invalid value: \"a/b\": a valid config key must consist of"),
        "{bad_key:?}"
    );
}

#[test]
fn what_is_immutable_stays() {
    let check = |plural: &str, new: Value, old: Value, expected: &[&str]| {
        assert_eq!(update_errors(plural, new, old), expected);
    };
    check("configmaps", value!({"data": {"a": "2"}}), value!({"data": {"a": "1"}}), &[]);
    let frozen = value!({"data": {"a": "1"}, "immutable": true});
    check(
        "configmaps",
        value!({"data": {"a": "2"}, "immutable": true}),
        frozen.clone(),
        &["data: Forbidden: field is immutable when `immutable` is set"],
    );
    check(
        "configmaps",
        value!({"data": {"a": "1"}}),
        frozen,
        &["immutable: Forbidden: field is immutable when `immutable` is set"],
    );
    check("secrets", value!({"type": "b"}), value!({"type": "a"}), &["type: Invalid value: \"b\": field is immutable"]);
}

#[test]
fn namespaces_are_born_active_with_their_finalizer() {
    let mut namespace = defaulted("namespaces", value!({"metadata": {"name": "a"}}));
    (row("namespaces").strategy.prepare_create)(&mut namespace);
    assert_eq!(namespace.label("kubernetes.io/metadata.name"), Some("a"));
    assert_eq!(namespace.get("spec"), Some(&value!({"finalizers": ["kubernetes"]})));
    assert_eq!(cells("namespaces", namespace.into_value()), "Name=a Status=Active Age=<unknown>");
    let mut new = object(value!({"spec": {"finalizers": []}}));
    let old = object(value!({"spec": {"finalizers": ["kubernetes"]}}));
    (row("namespaces").strategy.prepare_update)(&mut new, &old);
    assert_eq!(new.get("spec"), old.get("spec"));
}

#[test]
fn nodes_are_printed_with_their_roles_and_addresses() {
    let node = value!({
        "metadata": {"name": "n1", "creationTimestamp": "2026-01-01T12:00:00Z", "labels": {
            "node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "x"}},
        "spec": {"unschedulable": true},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1.35.0", "osImage": "Debian GNU/Linux 13", "kernelVersion": "6.12",
                "containerRuntimeVersion": "containerd://1.7.24"},
        },
    });
    assert_eq!(
        cells("nodes", node),
        "Name=n1 Status=Ready,SchedulingDisabled Roles=control-plane,worker,x Age=12h Version=v1.35.0 \
         [Internal-IP=10.0.0.1] [External-IP=<none>] [OS-Image=Debian GNU/Linux 13] [Kernel-Version=6.12] \
         [Container-Runtime=containerd://1.7.24]"
    );
    assert!(cells("nodes", value!({"metadata": {"name": "n"}})).contains("Status=Unknown Roles=<none>"));
}

#[test]
fn a_range_of_a_node_is_given_once() {
    let with = |range: &str| value!({"spec": {"podCIDR": range, "podCIDRs": [range]}});
    assert_eq!(update_errors("nodes", with("10.0.1.0/24"), value!({"spec": {}})), Vec::<String>::new());
    let changed = update_errors("nodes", with("10.0.2.0/24"), with("10.0.1.0/24"));
    assert_eq!(changed, ["spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"]);
    let twice =
        value!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}]}});
    assert_eq!(errors("nodes", twice), [r#"spec.taints[1]: Duplicate value: {"key":"a","effect":"NoSchedule"}"#]);
}

#[test]
fn claims_and_volumes_are_defaulted_checked_and_printed() {
    let claim = value!({"metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "v"}});
    assert_eq!(errors("persistentvolumeclaims", claim.clone()), Vec::<String>::new());
    assert_eq!(defaulted("persistentvolumeclaims", claim.clone()).str_at(&["spec", "volumeMode"]), "Filesystem");
    assert_eq!(
        errors("persistentvolumeclaims", value!({"spec": {}})),
        [
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value",
        ]
    );
    let mut bound = claim;
    bound.set_at(
        &["status"],
        value!({"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}),
    );
    assert_eq!(
        cells("persistentvolumeclaims", bound),
        "Name=c Status=Bound Volume=v Capacity=1Gi Access Modes=RWO StorageClass= VolumeAttributesClass=<unset> \
         Age=<unknown> [VolumeMode=<unset>]"
    );
    let class = defaulted("storageclasses", value!({"provisioner": "p"}));
    assert_eq!(class.str_at(&["reclaimPolicy"]), "Delete");
    assert_eq!(class.str_at(&["volumeBindingMode"]), "Immediate");
}
