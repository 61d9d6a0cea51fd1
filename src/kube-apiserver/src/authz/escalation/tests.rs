use serde_json::json;

use super::*;

fn object(value: serde_json::Value) -> Object {
    serde_json::from_value(value).unwrap()
}

fn cluster_role(name: &str, rules: &serde_json::Value) -> Object {
    object(
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}),
    )
}

fn bound(kind: &str, role: &str, user: &str) -> Object {
    let namespace = if kind == "RoleBinding" { "blue" } else { "" };
    object(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": {"name": format!("{user}-{role}"), "namespace": namespace},
        "roleRef": {"apiGroup": rbac::GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user}],
    }))
}

/// alice has pods, carol may bind, dave may escalate; `secrets` is a role with more than all of them.
fn authorizer() -> Authorizer {
    let authorizer = Authorizer::new(&["RBAC".into()]);
    let rule = |verb: &str, group: &str, resource: &str| json!([{"verbs": [verb], "apiGroups": [group], "resources": [resource]}]);
    for object in [
        cluster_role("pods", &rule("get", "", "pods")),
        cluster_role("secrets", &rule("get", "", "secrets")),
        cluster_role("binder", &rule("bind", rbac::GROUP, "clusterroles")),
        cluster_role("escalator", &rule("escalate", rbac::GROUP, "clusterroles")),
        bound("ClusterRoleBinding", "pods", "alice"),
        bound("ClusterRoleBinding", "binder", "carol"),
        bound("ClusterRoleBinding", "escalator", "dave"),
    ] {
        authorizer.rbac.put(&object);
    }
    authorizer
}

fn user(name: &str) -> User {
    User::new(name, ["system:authenticated"])
}

#[test]
fn roles_are_written_by_those_who_hold_them_or_may_escalate() {
    let authorizer = authorizer();
    let secrets = cluster_role("new", &json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]));
    let pods = cluster_role("new", &json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]));
    for (name, role, allowed) in
        [("alice", &pods, true), ("alice", &secrets, false), ("carol", &secrets, false), ("dave", &secrets, true)]
    {
        assert_eq!(check_role(&authorizer, &user(name), role, None).is_ok(), allowed, "{name}");
    }
    let denied = check_role(&authorizer, &user("alice"), &secrets, None).unwrap_err();
    assert_eq!(denied.code(), 403);
    assert!(denied.message().contains(r#"Resources:["secrets"], Verbs:["get"]"#), "{}", denied.message());
}

#[test]
fn unchanged_rules_may_be_written_again() {
    let authorizer = authorizer();
    let secrets = cluster_role("new", &json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]));
    assert!(check_role(&authorizer, &user("alice"), &secrets, Some(&secrets)).is_ok());
    let mut aggregated = secrets.clone();
    aggregated.set_at(&["aggregationRule", "clusterRoleSelectors"], apimachinery::Value::List(vec![]));
    aggregated.set_at(&["aggregationRule", "x"], "y");
    assert!(check_role(&authorizer, &user("alice"), &aggregated, Some(&secrets)).is_err());
}

#[test]
fn roles_are_bound_by_those_who_hold_them_or_may_bind() {
    let authorizer = authorizer();
    for (name, role, allowed) in [
        ("alice", "pods", true),
        ("alice", "secrets", false),
        ("carol", "secrets", true),
        ("dave", "secrets", false),
        ("alice", "absent", false),
    ] {
        for kind in ["ClusterRoleBinding", "RoleBinding"] {
            let binding = bound(kind, role, "mallory");
            assert_eq!(
                check_binding(&authorizer, &user(name), &binding, None).is_ok(),
                allowed,
                "{name} {role} {kind}"
            );
        }
    }
    let masters = User::new("root", ["system:masters"]);
    assert!(check_binding(&authorizer, &masters, &bound("ClusterRoleBinding", "secrets", "m"), None).is_ok());
}
