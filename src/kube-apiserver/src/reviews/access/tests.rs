use serde_json::json;

use super::*;

fn object(value: serde_json::Value) -> Object {
    serde_json::from_value(value).unwrap()
}

fn authorizer() -> Authorizer {
    let authorizer = Authorizer::new(&["RBAC".into()]);
    for value in [
        json!({"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]}),
        json!({"kind": "RoleBinding", "metadata": {"name": "b", "namespace": "blue"}, "roleRef": {"kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "Group", "name": "dev"}]}),
        json!({"kind": "ClusterRoleBinding", "metadata": {"name": "c"}, "roleRef": {"kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "User", "name": "alice"}]}),
    ] {
        authorizer.rbac.put(&object(value));
    }
    authorizer
}

fn review(spec: &serde_json::Value) -> Object {
    object(json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}))
}

fn pods(namespace: &str) -> serde_json::Value {
    json!({"verb": "get", "resource": "pods", "namespace": namespace})
}

#[test]
fn subject_is_the_user_and_groups_of_the_spec() {
    let authorizer = authorizer();
    for (spec, allowed) in [
        (json!({"groups": ["dev"], "resourceAttributes": pods("blue")}), true),
        (json!({"groups": ["dev"], "resourceAttributes": pods("red")}), false),
        (json!({"user": "dev", "resourceAttributes": pods("blue")}), false),
        (json!({"user": "alice", "resourceAttributes": pods("")}), true),
        (json!({"user": "alice", "nonResourceAttributes": {"verb": "get", "path": "/healthz"}}), true),
        (json!({"user": "alice", "nonResourceAttributes": {"verb": "get", "path": "/metrics"}}), false),
        (
            json!({"user": "x", "groups": ["system:masters"], "nonResourceAttributes": {"verb": "get", "path": "/"}}),
            true,
        ),
    ] {
        let answered = subject(&authorizer, review(&spec)).unwrap();
        assert_eq!(answered.bool_at(&["status", "allowed"]), allowed, "{spec}");
    }
}

#[test]
fn questions_that_make_no_sense_are_invalid() {
    let authorizer = authorizer();
    for spec in [
        json!({"resourceAttributes": pods("blue")}),
        json!({"user": "alice"}),
        json!({"user": "alice", "resourceAttributes": pods("blue"), "nonResourceAttributes": {"path": "/", "verb": "get"}}),
    ] {
        assert_eq!(subject(&authorizer, review(&spec)).unwrap_err().code(), 422, "{spec}");
    }
}

#[test]
fn local_review_stays_in_its_namespace() {
    let authorizer = authorizer();
    let ask = |namespace: &str| {
        let question = review(&json!({"groups": ["dev"], "resourceAttributes": pods("blue")}));
        local_subject(&authorizer, namespace, question)
    };
    assert!(ask("blue").unwrap().bool_at(&["status", "allowed"]));
    assert_eq!(ask("red").unwrap_err().code(), 422);
}
