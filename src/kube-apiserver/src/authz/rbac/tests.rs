use serde_json::json;

use super::*;

fn object(value: serde_json::Value) -> Object {
    serde_json::from_value(value).unwrap()
}

fn role(kind: &str, namespace: &str, name: &str, verb: &str, resource: &str) -> Object {
    object(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "rules": [{"verbs": [verb], "apiGroups": [""], "resources": [resource]}],
    }))
}

fn binding(kind: &str, namespace: &str, name: &str, role: (&str, &str), subject: &serde_json::Value) -> Object {
    object(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": GROUP, "kind": role.0, "name": role.1},
        "subjects": [subject],
    }))
}

fn cluster() -> Rbac {
    let rbac = Rbac::default();
    let alice = json!({"kind": "User", "name": "alice"});
    for object in [
        role("ClusterRole", "", "reader", "get", "pods"),
        role("ClusterRole", "", "writer", "update", "pods"),
        role("Role", "blue", "reader", "get", "secrets"),
        binding(
            "ClusterRoleBinding",
            "",
            "all-read",
            ("ClusterRole", "reader"),
            &json!({"kind": "Group", "name": "readers"}),
        ),
        binding("RoleBinding", "blue", "alice-writes", ("ClusterRole", "writer"), &alice),
        binding("RoleBinding", "blue", "alice-reads", ("Role", "reader"), &alice),
        binding("RoleBinding", "red", "dangling", ("Role", "absent"), &alice),
        binding("ClusterRoleBinding", "", "no-role", ("Role", "reader"), &alice),
        binding(
            "RoleBinding",
            "blue",
            "robot",
            ("Role", "reader"),
            &json!({"kind": "ServiceAccount", "name": "robot", "namespace": "red"}),
        ),
        binding(
            "RoleBinding",
            "blue",
            "local",
            ("Role", "reader"),
            &json!({"kind": "ServiceAccount", "name": "local"}),
        ),
    ] {
        rbac.put(&object);
    }
    rbac
}

fn decide(rbac: &Rbac, user: &User, verb: &str, resource: &str, namespace: &str) -> Decision {
    rbac.authorize(&Attributes { namespace, name: "x", ..Attributes::resource(user, verb, ("", resource)) })
}

#[test]
fn decision_table() {
    let rbac = cluster();
    let alice = User::new("alice", ["system:authenticated"]);
    let reader = User::new("bob", ["readers"]);
    let robot = User::new("system:serviceaccount:red:robot", ["system:serviceaccounts"]);
    let impostor = User::new("bob", ["alice"]);
    // A binding that names no namespace means an account of its own.
    let local = User::new("system:serviceaccount:blue:local", [""]);
    let namesake = User::new("system:serviceaccount:red:local", [""]);
    let table = [
        (&local, "get", "secrets", "blue", true),
        (&namesake, "get", "secrets", "blue", false),
        (&reader, "get", "pods", "blue", true),
        (&reader, "get", "pods", "", true),
        (&reader, "get", "secrets", "blue", false),
        (&alice, "update", "pods", "blue", true),
        (&alice, "update", "pods", "red", false),
        (&alice, "update", "pods", "", false),
        (&alice, "get", "secrets", "blue", true),
        (&alice, "get", "secrets", "", false),
        (&robot, "get", "secrets", "blue", true),
        (&robot, "get", "secrets", "red", false),
        (&impostor, "update", "pods", "blue", false),
    ];
    for (user, verb, resource, namespace, allowed) in table {
        let decision = decide(&rbac, user, verb, resource, namespace);
        assert_eq!(decision.allowed, allowed, "{} {verb} {resource} {namespace}: {}", user.name, decision.reason);
    }
}

#[test]
fn reasons_name_the_binding_or_what_it_misses() {
    let rbac = cluster();
    let reader = User::new("bob", ["readers"]);
    let wanted = r#"RBAC: allowed by ClusterRoleBinding "all-read" of ClusterRole "reader" to Group "readers""#;
    assert_eq!(decide(&rbac, &reader, "get", "pods", "").reason, wanted);
    let alice = User::new("alice", [""; 0]);
    assert!(decide(&rbac, &alice, "get", "pods", "red").reason.contains(r#"Role "absent" not found"#));
}

#[test]
fn changes_take_effect_at_once() {
    let rbac = cluster();
    let alice = User::new("alice", [""; 0]);
    let may = |rbac: &Rbac| decide(rbac, &alice, "update", "pods", "blue").allowed;
    assert!(may(&rbac));
    rbac.put(&role("ClusterRole", "", "writer", "update", "nodes"));
    assert!(!may(&rbac));
    rbac.put(&role("ClusterRole", "", "writer", "update", "pods"));
    assert!(may(&rbac));
    let other = json!({"kind": "User", "name": "carol"});
    rbac.put(&binding("RoleBinding", "blue", "alice-writes", ("ClusterRole", "writer"), &other));
    assert!(!may(&rbac));
    assert!(decide(&rbac, &User::new("carol", [""; 0]), "update", "pods", "blue").allowed);
    rbac.remove("rolebindings", "blue", "alice-writes");
    rbac.remove("rolebindings", "blue", "robot");
    rbac.remove("clusterroles", "", "reader");
    assert!(!decide(&rbac, &User::new("bob", ["readers"]), "get", "pods", "").allowed);
}

#[test]
fn aggregation_collects_each_rule_once_in_order_of_names() {
    let mut first = role("ClusterRole", "", "b", "get", "pods");
    let mut second = role("ClusterRole", "", "a", "list", "pods");
    first.set_label("x", "1");
    second.set_label("x", "1");
    let aggregated = object(json!({
        "kind": "ClusterRole", "metadata": {"name": "all"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"x": "1"}}]},
    }));
    let unrelated = role("ClusterRole", "", "c", "delete", "pods");
    let rules = aggregate(&aggregated, [&first, &second, &first, &unrelated], |_, other| other.label("x").is_some());
    let verbs: Vec<&str> = rules.iter().map(|rule| rule.verbs[0].as_str()).collect();
    assert_eq!(verbs, ["list", "get"]);
}
