use crate::groups::tests::{cells, defaulted, errors, update_errors};
use apimachinery::value;
use apimachinery::value::Value;

fn workload(extra: Value) -> Value {
    let mut object = value!({"metadata": {"name": "w"}, "spec": {
        "selector": {"matchLabels": {"app": "w"}},
        "template": {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
    }});
    if let Value::Map(extra) = extra {
        for (key, value) in extra {
            let path: Vec<&str> = key.split('.').collect();
            object.set_at(&path, value);
        }
    }
    object
}

#[test]
fn workloads_get_their_documented_defaults() {
    let check = |plural: &str, expected: Value| {
        let mut object = defaulted(plural, workload(value!({})));
        object.remove_at(&["spec", "selector"]);
        object.remove_at(&["spec", "template"]);
        assert_eq!(object.get("spec"), Some(&expected), "{plural}");
    };
    check(
        "deployments",
        value!({
            "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        }),
    );
    check("replicasets", value!({"replicas": 1}));
    check(
        "daemonsets",
        value!({
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "revisionHistoryLimit": 10,
        }),
    );
    check(
        "statefulsets",
        value!({
            "podManagementPolicy": "OrderedReady", "replicas": 1, "revisionHistoryLimit": 10,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        }),
    );
}

#[test]
fn the_template_is_defaulted_too() {
    let object = defaulted("deployments", workload(value!({})));
    assert_eq!(object.str_at(&["spec", "template", "spec", "restartPolicy"]), "Always");
    assert_eq!(object.str_at(&["spec", "template", "spec", "containers", "0", "imagePullPolicy"]), "IfNotPresent");
}

#[test]
fn workloads_are_checked_in_upstreams_words() {
    let check = |plural: &str, extra: Value, expected: &[&str]| {
        assert_eq!(errors(plural, workload(extra)), expected, "{plural}");
    };
    for plural in ["deployments", "replicasets", "daemonsets", "statefulsets"] {
        check(plural, value!({}), &[]);
        check(
            plural,
            value!({"spec.template.metadata.labels": {"app": "other"}}),
            &[
                r#"spec.template.metadata.labels: Invalid value: {"app":"other"}: `selector` does not match template `labels`"#,
            ],
        );
        check(plural, value!({"spec.selector": null}), &["spec.selector: Required value"]);
        check(
            plural,
            value!({"spec.template.spec.restartPolicy": "Never"}),
            &[r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#],
        );
    }
    check(
        "deployments",
        value!({"spec.replicas": (-1)}),
        &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
    );
    check(
        "deployments",
        value!({"spec.selector": {}}),
        &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
    );
    check(
        "deployments",
        value!({"spec.strategy": {"type": "Recreate", "rollingUpdate": {}}}),
        &["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
    );
    check(
        "deployments",
        value!({"spec.strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}}),
        &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
    );
    check(
        "statefulsets",
        value!({
            "spec.volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}}}],
            "spec.template.spec.containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}],
        }),
        &[],
    );
}

#[test]
fn selectors_and_most_of_a_stateful_set_never_change() {
    let other = value!({"spec.selector": {"matchLabels": {"app": "x"}}});
    assert_eq!(
        update_errors("deployments", workload(other.clone()), workload(value!({}))),
        [r#"spec.selector: Invalid value: {"matchLabels":{"app":"x"}}: field is immutable"#]
    );
    let errors = update_errors("statefulsets", workload(other), workload(value!({})));
    assert!(errors[0].starts_with("spec: Forbidden: updates to statefulset spec for fields other than 'replicas'"));
    let scaled = workload(value!({"spec.replicas": 5}));
    assert_eq!(update_errors("statefulsets", scaled, workload(value!({}))), Vec::<String>::new());
}

#[test]
fn workloads_are_printed_as_kubectl_does() {
    let status = value!({
        "spec.replicas": 3,
        "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1, "replicas": 3,
            "desiredNumberScheduled": 4, "currentNumberScheduled": 4, "numberReady": 3},
    });
    let check = |plural: &str, expected: &str| assert_eq!(cells(plural, workload(status.clone())), expected);
    check(
        "deployments",
        "Name=w Ready=1/3 Up-to-date=2 Available=1 Age=<unknown> [Containers=c] [Images=i:1] [Selector=app=w]",
    );
    check(
        "replicasets",
        "Name=w Desired=3 Current=3 Ready=1 Age=<unknown> [Containers=c] [Images=i:1] [Selector=app=w]",
    );
    check("statefulsets", "Name=w Ready=1/3 Age=<unknown> [Containers=c] [Images=i:1]");
    check(
        "daemonsets",
        "Name=w Desired=4 Current=4 Ready=3 Up-to-date=0 Available=0 Node Selector=<none> Age=<unknown> \
         [Containers=c] [Images=i:1] [Selector=app=w]",
    );
}

#[test]
fn a_replication_controller_takes_the_labels_of_its_template() {
    let controller = value!({"spec": {"template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let whole = defaulted("replicationcontrollers", controller.clone());
    assert_eq!(whole.at(&["spec", "selector"]), Some(&value!({"a": "b"})));
    assert_eq!(whole.label("a"), Some("b"));
    assert_eq!(errors("replicationcontrollers", controller), Vec::<String>::new());
}
