//! The roles and bindings a cluster starts with, and how they are kept complete.
//!
//! The policy itself is `policy/bootstrap.txt`; its head explains the form.

use std::collections::HashSet;

use apimachinery::value::from_typed;
use apimachinery::{Map, Object, Value};

use super::rbac::{self, GROUP};
use super::rules::PolicyRule;
use crate::first_objects::First;

const POLICY: &str = include_str!("policy/bootstrap.txt");
const API_VERSION: &str = "rbac.authorization.k8s.io/v1";
/// Set to `false`, the object is left alone.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// All roles and bindings of the policy, roles before the bindings that name them.
pub fn objects() -> Vec<Object> {
    let mut reader = Reader::default();
    for line in POLICY.lines() {
        let text = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        reader.take(&words, text.starts_with(' '));
    }
    let mut objects = reader.finish();
    fill_aggregated(&mut objects);
    objects
}

/// [`objects`] for a new cluster.
pub fn first() -> Vec<First> {
    let plural = |object: &Object| match object.kind() {
        "ClusterRole" => "clusterroles",
        "ClusterRoleBinding" => "clusterrolebindings",
        "Role" => "roles",
        _ => "rolebindings",
    };
    objects().into_iter().map(|object| (GROUP, plural(&object), object)).collect()
}

#[derive(Default)]
struct Reader {
    roles: Vec<(Object, Vec<PolicyRule>)>,
    bindings: Vec<Object>,
}

impl Reader {
    fn take(&mut self, words: &[&str], indented: bool) {
        match words {
            [] => {}
            [verbs, rest @ ..] if indented => {
                let (_, rules) = self.roles.last_mut().expect("the policy starts with a role");
                rules.push(rule(verbs, rest));
            }
            ["clusterrole", name, flags @ ..] => {
                let mut role = meta("ClusterRole", "", name);
                for flag in flags {
                    aggregation(&mut role, flag);
                }
                self.roles.push((role, Vec::new()));
            }
            ["role", namespace, name] => {
                self.roles.push((meta("Role", namespace, name), Vec::new()));
            }
            ["controller", name] => {
                let role = format!("system:controller:{name}");
                let subject = format!("sa:kube-system/{name}");
                self.roles.push((meta("ClusterRole", "", &role), Vec::new()));
                self.bindings.push(binding(meta("ClusterRoleBinding", "", &role), ("ClusterRole", &role), &[&subject]));
            }
            ["clusterbinding", name, role, subjects @ ..] => {
                self.bindings.push(binding(meta("ClusterRoleBinding", "", name), ("ClusterRole", role), subjects));
            }
            ["rolebinding", namespace, name, role, subjects @ ..] => {
                self.bindings.push(binding(meta("RoleBinding", namespace, name), ("Role", role), subjects));
            }
            _ => unreachable!("a test reads the whole policy"),
        }
    }

    fn finish(self) -> Vec<Object> {
        let roles = self.roles.into_iter().map(|(mut role, rules)| {
            set_rules(&mut role, &rules);
            role
        });
        roles.chain(self.bindings).collect()
    }
}

fn meta(kind: &str, namespace: &str, name: &str) -> Object {
    let mut object = Object::new(API_VERSION, kind);
    object.set_name(name);
    if !namespace.is_empty() {
        object.set_namespace(namespace);
    }
    object.set_label("kubernetes.io/bootstrapping", "rbac-defaults");
    object.set_annotation(AUTOUPDATE, "true");
    object
}

fn rule(verbs: &str, rest: &[&str]) -> PolicyRule {
    let list = |text: &str| -> Vec<String> { text.split(',').map(str::to_owned).collect() };
    let verbs = expand(verbs);
    match rest {
        ["url", paths] => PolicyRule { verbs, non_resource_urls: list(paths), ..PolicyRule::default() },
        [groups, resources, names @ ..] => PolicyRule {
            verbs,
            api_groups: groups.split(',').map(|group| if group == "core" { "" } else { group }.to_owned()).collect(),
            resources: list(resources),
            resource_names: names.first().map_or_else(Vec::new, |names| list(names)),
            ..PolicyRule::default()
        },
        _ => unreachable!("a test reads the whole policy"),
    }
}

fn expand(verbs: &str) -> Vec<String> {
    let mut expanded: Vec<String> = verbs
        .split(',')
        .flat_map(|verb| {
            match verb {
                "read" => &["get", "list", "watch"][..],
                "follow" => &["list", "watch"],
                "write" => &["create", "delete", "deletecollection", "patch", "update"],
                "change" => &["patch", "update"],
                "record" => &["create", "patch", "update"],
                _ => return vec![verb.to_owned()],
            }
            .iter()
            .map(|&verb| verb.to_owned())
            .collect()
        })
        .collect();
    expanded.sort();
    expanded
}

fn aggregation(role: &mut Object, flag: &str) {
    let label = |to: &str| format!("rbac.authorization.k8s.io/aggregate-to-{to}");
    match flag.split_once('=') {
        Some(("to", to)) => role.set_label(&label(to), "true"),
        Some(("from", from)) => {
            let labels: Map = [(label(from), Value::from("true"))].into_iter().collect();
            let mut selector = Map::new();
            selector.insert("matchLabels", Value::Map(labels));
            role.set_at(&["aggregationRule", "clusterRoleSelectors"], Value::List(vec![Value::Map(selector)]));
        }
        _ => unreachable!("a test reads the whole policy"),
    }
}

fn binding(mut object: Object, (kind, role): (&str, &str), subjects: &[&str]) -> Object {
    object.set_at(&["roleRef", "apiGroup"], GROUP);
    object.set_at(&["roleRef", "kind"], kind);
    object.set_at(&["roleRef", "name"], role);
    let subjects: Vec<Value> = subjects.iter().map(|subject| subject_value(subject)).collect();
    if !subjects.is_empty() {
        object.set_at(&["subjects"], Value::List(subjects));
    }
    object
}

fn subject_value(text: &str) -> Value {
    let (kind, name) = text.split_once(':').expect("a test reads the whole policy");
    let mut subject = Map::new();
    if kind == "sa" {
        let (namespace, name) = name.split_once('/').expect("a test reads the whole policy");
        subject.insert("kind", "ServiceAccount");
        subject.insert("name", name);
        subject.insert("namespace", namespace);
    } else {
        subject.insert("apiGroup", GROUP);
        subject.insert("kind", if kind == "group" { "Group" } else { "User" });
        subject.insert("name", name);
    }
    Value::Map(subject)
}

fn set_rules(role: &mut Object, rules: &[PolicyRule]) {
    let rules = rules.iter().map(|rule| from_typed(rule).expect("rules are plain text")).collect();
    role.set_at(&["rules"], Value::List(rules));
}

/// admin, edit and view work from the start, before a controller aggregates them again.
fn fill_aggregated(objects: &mut [Object]) {
    for name in ["view", "edit", "admin"] {
        let others = objects.to_vec();
        for role in objects.iter_mut().filter(|role| role.kind() == "ClusterRole" && role.name() == name) {
            let candidates = others.iter().filter(|other| other.kind() == "ClusterRole");
            let rules = rbac::aggregate(role, candidates, labels_match);
            set_rules(role, &rules);
        }
    }
}

/// Whether a selector of labels alone, as the policy has them, chooses a role.
fn labels_match(selector: &Value, role: &Object) -> bool {
    selector
        .get("matchLabels")
        .and_then(Value::as_map)
        .is_some_and(|labels| labels.strings().all(|(key, value)| role.label(key) == Some(value)))
}

/// What must become of an object that exists: nothing, a changed object, or a new one in its place.
#[derive(Debug, PartialEq)]
pub enum Repair {
    /// It is complete, or its owner keeps it as it is.
    Nothing,
    /// Missing rules, subjects, labels or annotations were added.
    Update(Object),
    /// It binds another role, which cannot be changed: delete it and create the wanted one.
    Replace,
}

/// Compares an existing object with the wanted one.
pub fn reconcile(existing: &Object, wanted: &Object) -> Repair {
    if existing.annotation(AUTOUPDATE) == Some("false") {
        return Repair::Nothing;
    }
    let binds = wanted.kind().ends_with("Binding");
    if binds && rbac::role_ref_of(existing) != rbac::role_ref_of(wanted) {
        return Repair::Replace;
    }
    let mut repaired = existing.clone();
    let mut changed = false;
    for (key, value) in wanted.labels().strings().filter(|(key, _)| existing.label(key).is_none()) {
        repaired.set_label(key, value);
        changed = true;
    }
    for (key, value) in wanted.annotations().strings().filter(|(key, _)| existing.annotation(key).is_none()) {
        repaired.set_annotation(key, value);
        changed = true;
    }
    changed |= if binds { add_subjects(&mut repaired, wanted) } else { add_rules(&mut repaired, wanted) };
    if changed { Repair::Update(repaired) } else { Repair::Nothing }
}

fn add_subjects(repaired: &mut Object, wanted: &Object) -> bool {
    let present: HashSet<String> = repaired.list_at(&["subjects"]).iter().map(subject_key).collect();
    let missing: Vec<Value> = wanted
        .list_at(&["subjects"])
        .iter()
        .filter(|subject| !present.contains(&subject_key(subject)))
        .cloned()
        .collect();
    append(repaired, "subjects", missing)
}

fn subject_key(subject: &Value) -> String {
    format!("{}/{}/{}", subject.str("kind"), subject.str("namespace"), subject.str("name"))
}

fn add_rules(repaired: &mut Object, wanted: &Object) -> bool {
    if let Some(rule) = wanted.get("aggregationRule") {
        let missing = repaired.get("aggregationRule").is_none();
        if missing {
            repaired.set_at(&["aggregationRule"], rule.clone());
        }
        return missing;
    }
    let held = rbac::rules_of(repaired);
    let missing = super::rules::uncovered(&held, &rbac::rules_of(wanted));
    let missing = missing.iter().map(|rule| from_typed(rule).expect("rules are plain text")).collect();
    append(repaired, "rules", missing)
}

fn append(object: &mut Object, field: &str, missing: Vec<Value>) -> bool {
    if missing.is_empty() {
        return false;
    }
    let mut all = object.list_at(&[field]).to_vec();
    all.extend(missing);
    object.set_at(&[field], Value::List(all));
    true
}

#[cfg(test)]
mod tests;
