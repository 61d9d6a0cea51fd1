use super::*;
use crate::user::User;

fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> PolicyRule {
    let list = |text: &str| match text {
        "-" => Vec::new(),
        text => text.split(',').map(str::to_owned).collect(),
    };
    PolicyRule {
        verbs: list(verbs),
        api_groups: list(groups),
        resources: list(resources),
        resource_names: list(names),
        ..PolicyRule::default()
    }
}

fn path_rule(verbs: &str, path: &str) -> PolicyRule {
    PolicyRule { verbs: vec![verbs.into()], non_resource_urls: vec![path.into()], ..PolicyRule::default() }
}

fn allows(rule: &PolicyRule, verb: &str, group: &str, full: &str, name: &str) -> bool {
    let user = User::default();
    let (resource, subresource) = full.split_once('/').unwrap_or((full, ""));
    rule.allows(&Attributes { subresource, name, ..Attributes::resource(&user, verb, (group, resource)) })
}

#[test]
fn decision_table_of_one_rule() {
    // verbs, groups, resources, names of the rule; verb, group, resource, name asked; allowed
    let table = [
        ("get", "", "pods", "-", "get", "", "pods", "x", true),
        ("get", "", "pods", "-", "list", "", "pods", "", false),
        ("get", "", "pods", "-", "get", "apps", "pods", "x", false),
        ("get", "", "pods", "-", "get", "", "pods/log", "x", false),
        ("get", "", "pods/log", "-", "get", "", "pods/log", "x", true),
        ("get", "", "pods/log", "-", "get", "", "pods", "x", false),
        ("get", "", "pods/*", "-", "get", "", "pods/log", "x", false),
        ("get", "", "pods/*", "-", "get", "", "pods", "x", false),
        ("get", "*", "*/scale", "-", "get", "apps", "deployments/scale", "x", true),
        ("get", "*", "*/scale", "-", "get", "apps", "deployments", "x", false),
        ("get", "*", "*/", "-", "get", "apps", "deployments", "x", false),
        ("*", "*", "*", "-", "delete", "batch", "jobs/status", "x", true),
        ("get", "", "pods", "a,b", "get", "", "pods", "b", true),
        ("get", "", "pods", "a,b", "get", "", "pods", "c", false),
        ("list", "", "pods", "a", "list", "", "pods", "", false),
        ("create", "", "pods", "a", "create", "", "pods", "", false),
        ("-", "", "pods", "-", "get", "", "pods", "x", false),
    ];
    for row in table {
        let (verbs, groups, resources, names, verb, group, resource, name, wanted) = row;
        let rule = rule(verbs, groups, resources, names);
        assert_eq!(allows(&rule, verb, group, resource, name), wanted, "{row:?}");
    }
}

#[test]
fn paths_match_whole_or_by_a_trailing_star() {
    let user = User::default();
    let ask = |rule: &PolicyRule, path: &str| {
        rule.allows(&Attributes { is_resource: false, path, ..Attributes::resource(&user, "get", ("", "")) })
    };
    assert!(ask(&path_rule("get", "/healthz"), "/healthz"));
    assert!(!ask(&path_rule("get", "/healthz"), "/healthz/etcd"));
    assert!(ask(&path_rule("get", "/healthz/*"), "/healthz/etcd"));
    assert!(!ask(&path_rule("get", "/*/x"), "/a/x"));
    assert!(ask(&path_rule("*", "*"), "/anything"));
    assert!(!ask(&rule("*", "*", "*", "-"), "/healthz"), "a rule about objects says nothing about paths");
}

#[test]
fn covering_needs_every_single_part() {
    // held, wanted, covered
    let pods = rule("get,list", "", "pods", "-");
    let cases = [
        (vec![rule("*", "*", "*", "-")], rule("get", "apps", "deployments/scale", "x"), true),
        (vec![pods.clone()], rule("get", "", "pods", "x"), true),
        (vec![rule("get", "", "pods", "x")], rule("get", "", "pods", "-"), false),
        (vec![pods.clone()], rule("get", "", "pods,secrets", "-"), false),
        (vec![pods.clone(), rule("get", "", "secrets", "-")], rule("get", "", "pods,secrets", "-"), true),
        (vec![rule("get", "", "pods", "a"), rule("get", "", "pods", "b")], rule("get", "", "pods", "a,b"), true),
        (vec![pods.clone()], rule("get", "", "*", "-"), false),
        (vec![pods.clone()], rule("*", "", "pods", "-"), false),
        (vec![rule("get", "", "pods/*", "-")], rule("get", "", "pods/log", "-"), false),
        (vec![rule("get", "", "*/log", "-")], rule("get", "", "pods/log", "-"), true),
        (vec![path_rule("get", "/api/*")], path_rule("get", "/api/v1"), true),
        (vec![path_rule("get", "/api/*")], path_rule("get", "/*"), false),
        (vec![path_rule("get", "*")], path_rule("get", "/*"), true),
    ];
    for (held, wanted, covered) in cases {
        assert_eq!(uncovered(&held, std::slice::from_ref(&wanted)).is_empty(), covered, "{held:?} {wanted:?}");
    }
}

#[test]
fn rules_are_shown_as_upstream_shows_them() {
    let shown = rule("get,list", "", "pods", "x").to_string();
    assert_eq!(shown, r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["x"], Verbs:["get" "list"]}"#);
}
