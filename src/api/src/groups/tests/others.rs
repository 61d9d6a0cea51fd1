use super::{cells, defaulted, errors, update_errors};
use apimachinery::value;
use apimachinery::value::Value;

#[test]
fn bindings_name_the_group_of_what_they_bind() {
    let binding = defaulted(
        "rolebindings",
        value!({"kind": "RoleBinding", "roleRef": {"kind": "Role", "name": "r"}, "subjects": [
            {"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]}),
    );
    let group = "rbac.authorization.k8s.io";
    assert_eq!(binding.str_at(&["roleRef", "apiGroup"]), group);
    assert_eq!(binding.str_at(&["subjects", "0", "apiGroup"]), group);
    assert_eq!(binding.at(&["subjects", "1", "apiGroup"]), None);
    assert_eq!(
        cells("rolebindings", binding.clone().into_value()),
        "Name= Role=Role/r Age=<unknown> [Users=u] [Groups=] [ServiceAccounts=n/s]"
    );
    let mut other = binding.clone();
    other.set_at(&["roleRef", "name"], "x");
    let wrong = update_errors("rolebindings", other.into_value(), binding.into_value());
    assert!(wrong[0].ends_with("cannot change roleRef"), "{wrong:?}");
}

#[test]
fn an_account_needs_a_namespace_only_where_a_binding_has_none() {
    let of = |kind: &str| value!({"kind": kind, "roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "s"}]});
    assert_eq!(errors("rolebindings", of("RoleBinding")), Vec::<String>::new());
    assert_eq!(errors("clusterrolebindings", of("ClusterRoleBinding")), ["subjects[0].namespace: Required value"]);
}

#[test]
fn what_upstream_requires_is_required() {
    assert_eq!(errors("controllerrevisions", value!({"revision": 1})), ["data: Required value: data is mandatory"]);
    let volume = |affinity| {
        let capacity = value!({"storage": "1Gi"});
        value!({"spec": {"capacity": (capacity), "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/d"}, "nodeAffinity": (affinity)}})
    };
    assert_eq!(
        errors("persistentvolumes", volume(value!({}))),
        ["spec.nodeAffinity.required: Required value: must specify required node constraints"]
    );
    assert_eq!(
        errors("persistentvolumes", volume(value!({"required": {}}))),
        ["spec.nodeAffinity.required.nodeSelectorTerms: Required value: must have at least one node selector term"]
    );
    let class = value!({"handler": "h", "scheduling": {"tolerations": [{"key": "a", "operator": "Sometimes"}]}});
    let told = errors("runtimeclasses", class);
    assert!(told[0].starts_with("scheduling.tolerations[0].operator: Unsupported value: \"Sometimes\""), "{told:?}");
    let class = value!({"spec": {"controller": "a.b/c", "parameters": {"apiGroup": "A_b", "kind": "K", "name": "n"}}});
    let told = errors("ingressclasses", class);
    assert!(told[0].starts_with("spec.parameters.apiGroup: Invalid value: \"A_b\""), "{told:?}");
}

#[test]
fn both_fields_of_a_nodes_ranges_say_the_same() {
    for (given, first, all) in [
        (value!({"podCIDR": "10.1.0.0/24"}), "10.1.0.0/24", value!(["10.1.0.0/24"])),
        (value!({"podCIDRs": ["10.1.0.0/24", "fd00::/64"]}), "10.1.0.0/24", value!(["10.1.0.0/24", "fd00::/64"])),
    ] {
        let node = defaulted("nodes", value!({"spec": (given)}));
        assert_eq!((node.str_at(&["spec", "podCIDR"]), node.at(&["spec", "podCIDRs"])), (first, Some(&all)));
    }
}

#[test]
fn what_is_kept_but_has_no_effect_yet_says_so() {
    let check = |plural: &str, tree: Value, expected: bool| {
        let row = crate::resources().iter().find(|row| row.plural == plural).unwrap();
        let said = (row.strategy.warnings)(&super::object(tree));
        assert_eq!(said.iter().any(|text| text.ends_with("has no effect")), expected, "{plural}: {said:?}");
    };
    check("mutatingwebhookconfigurations", value!({}), true);
    check("validatingwebhookconfigurations", value!({}), true);
    check("validatingadmissionpolicies", value!({}), true);
    check("validatingadmissionpolicybindings", value!({}), true);
    check("customresourcedefinitions", value!({}), true);
    check("apiservices", value!({"spec": {"service": {"name": "metrics", "namespace": "a"}}}), true);
    check("apiservices", value!({"spec": {"group": "apps"}}), false);
}

#[test]
fn rules_say_what_they_are_about() {
    let check = |plural: &str, kind: &str, rule: Value, expected: &[&str]| {
        assert_eq!(errors(plural, value!({"kind": kind, "rules": [rule]})), expected);
    };
    check("roles", "Role", value!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}), &[]);
    check(
        "roles",
        "Role",
        value!({}),
        &[
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
            "rules[0].resources: Required value: resource rules must supply at least one resource",
        ],
    );
    let urls = value!({"verbs": ["get"], "nonResourceURLs": ["/healthz"]});
    check("clusterroles", "ClusterRole", urls.clone(), &[]);
    check(
        "roles",
        "Role",
        urls,
        &[
            r#"rules[0].nonResourceURLs: Invalid value: ["/healthz"]: namespaced rules cannot apply to non-resource URLs"#,
        ],
    );
}

#[test]
fn budgets_are_checked_and_printed() {
    let check = |spec: Value, expected: &[&str]| {
        assert_eq!(errors("poddisruptionbudgets", value!({"spec": spec})), expected);
    };
    check(value!({"minAvailable": 1}), &[]);
    check(
        value!({"maxUnavailable": "150%"}),
        &[r#"spec.maxUnavailable: Invalid value: "150%": must not be greater than 100%"#],
    );
    check(
        value!({"minAvailable": 1, "maxUnavailable": 1}),
        &[
            r#"spec: Invalid value: {"minAvailable":1,"maxUnavailable":1}: minAvailable and maxUnavailable cannot be both set"#,
        ],
    );
    let budget =
        value!({"metadata": {"name": "b"}, "spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 2}});
    assert_eq!(
        cells("poddisruptionbudgets", budget),
        "Name=b Min Available=50% Max Unavailable=N/A Allowed Disruptions=2 Age=<unknown>"
    );
}

#[test]
fn autoscalers_aim_at_the_cpu_unless_told_otherwise() {
    let hpa = defaulted(
        "horizontalpodautoscalers",
        value!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}}),
    );
    assert_eq!(
        cells("horizontalpodautoscalers", hpa.into_value()),
        "Name=h Reference=Deployment/d Targets=cpu: <unknown>/80% MinPods=1 MaxPods=5 Replicas=0 Age=<unknown>"
    );
    assert_eq!(
        errors(
            "horizontalpodautoscalers",
            value!({"spec": {"minReplicas": 3, "maxReplicas": 2, "scaleTargetRef": {"kind": "A", "name": "b"}}})
        ),
        ["spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`"]
    );
}

#[test]
fn events_are_printed_in_kubectls_order() {
    let event = value!({
        "metadata": {"name": "e"}, "type": "Normal", "reason": "Started", "message": "Started container\n",
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
        "source": {"component": "kubelet", "host": "n1"}, "count": 3,
        "firstTimestamp": "2026-01-01T23:00:00Z", "lastTimestamp": "2026-01-01T23:59:30Z",
    });
    assert_eq!(
        cells("events", event),
        "Last Seen=30s Type=Normal Reason=Started Object=pod/p [Subobject=spec.containers{c}] [Source=kubelet, n1] \
         Message=Started container [First Seen=60m] [Count=3] [Name=e]"
    );
}

#[test]
fn requests_for_certificates_show_what_became_of_them() {
    let check = |conditions: Value, certificate: &str, expected: &str| {
        let request = value!({"status": {"conditions": conditions, "certificate": certificate}});
        let shown = cells("certificatesigningrequests", request);
        assert!(shown.ends_with(&format!("Condition={expected}")), "{shown}");
    };
    check(value!([]), "", "Pending");
    check(value!([{"type": "Approved"}]), "", "Approved");
    check(value!([{"type": "Approved"}]), "x", "Approved,Issued");
    check(value!([{"type": "Denied"}]), "", "Denied");
}

#[test]
fn leases_classes_and_webhooks_have_their_defaults_and_rules() {
    assert_eq!(
        errors("leases", value!({"spec": {"leaseDurationSeconds": 0}})),
        ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]
    );
    assert_eq!(cells("leases", value!({"spec": {"holderIdentity": "h"}})), "Name= Holder=h Age=<unknown>");
    let class = defaulted("priorityclasses", value!({"metadata": {"name": "c"}, "value": 5}));
    assert_eq!(
        cells("priorityclasses", class.into_value()),
        "Name=c Value=5 Global-Default=false Age=<unknown> PreemptionPolicy=PreemptLowerPriority"
    );
    assert_eq!(
        errors("priorityclasses", value!({"metadata": {"name": "c"}, "value": 2_000_000_000})),
        ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]
    );
    let webhook = defaulted("mutatingwebhookconfigurations", value!({"webhooks": [{"name": "w"}]}));
    assert_eq!(
        webhook.at(&["webhooks", "0"]),
        Some(&value!({
            "name": "w", "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {},
            "objectSelector": {}, "timeoutSeconds": 10, "reinvocationPolicy": "Never",
        }))
    );
}
