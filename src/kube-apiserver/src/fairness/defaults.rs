//! The levels and schemas of every cluster, as upstream makes them.

use apimachinery::{Object, Value, value};

use super::GROUP;

/// A change of the server's mind about these reaches the cluster; one of an administrator stays.
pub(super) const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
/// The objects nobody can change or do without.
pub(super) const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

/// The number of queues and the size of a hand.
type Queues = (i64, i64);

/// Name, shares, percent that may be lent, queues.
const LEVELS: [(&str, i64, i64, Option<Queues>); 7] = [
    ("system", 30, 33, Some((64, 6))),
    ("node-high", 40, 25, Some((64, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
    ("global-default", 20, 50, Some((128, 6))),
    ("catch-all", 5, 0, None),
];
/// Requests that may wait in one queue.
const QUEUE_LENGTH: i64 = 50;

pub(super) fn levels() -> Vec<Object> {
    let limited = LEVELS.iter().map(|(name, shares, lendable, queues)| {
        let mut response = value!({"type": "Reject"});
        if let Some((queues, hand)) = queues {
            let queuing = value!({"queues": *queues, "handSize": *hand, "queueLengthLimit": QUEUE_LENGTH});
            response = value!({"type": "Queue", "queuing": (queuing)});
        }
        let limits = value!({
            "nominalConcurrencyShares": *shares, "lendablePercent": *lendable, "limitResponse": (response),
        });
        object("PriorityLevelConfiguration", name, value!({"type": "Limited", "limited": (limits)}))
    });
    let nothing = value!({"nominalConcurrencyShares": 0, "lendablePercent": 0});
    let exempt = object("PriorityLevelConfiguration", "exempt", value!({"type": "Exempt", "exempt": (nothing)}));
    std::iter::once(exempt).chain(limited).collect()
}

const USER: &str = "ByUser";
const NAMESPACE: &str = "ByNamespace";
const LEASES: (&[&str], &[&str]) = (&["coordination.k8s.io"], &["leases"]);
const WRITE_LEASES: &[&str] = &["get", "create", "update"];

pub(super) fn schemas() -> Vec<Object> {
    let authenticated = || vec![group("system:unauthenticated"), group("system:authenticated")];
    let endpoints = || {
        let accounts = ["endpoint-controller", "endpointslice-controller", "endpointslicemirroring-controller"];
        let accounts = accounts.into_iter().map(|name| account("kube-system", name));
        std::iter::once(user("system:kube-controller-manager")).chain(accounts).collect()
    };
    let leaders =
        || vec![user("system:kube-controller-manager"), user("system:kube-scheduler"), account("kube-system", "*")];
    let health = value!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]);
    vec![
        flow("exempt", "exempt", (1, ""), all(vec![group("system:masters")])),
        flow("probes", "exempt", (2, ""), value!({"subjects": (list(authenticated())), "nonResourceRules": (health)})),
        flow(
            "system-leader-election",
            "leader-election",
            (100, USER),
            some(leaders(), vec![resource(WRITE_LEASES, LEASES, "*", false)]),
        ),
        flow(
            "endpoint-controller",
            "workload-high",
            (150, USER),
            some(endpoints(), vec![resource(WRITE_LEASES, (&[""], &["endpoints"]), "*", false)]),
        ),
        flow(
            "workload-leader-election",
            "leader-election",
            (200, USER),
            some(vec![account("kube-system", "*")], vec![resource(WRITE_LEASES, LEASES, "*", false)]),
        ),
        flow(
            "system-node-high",
            "node-high",
            (400, USER),
            some(
                vec![group("system:nodes")],
                vec![
                    resource(&["*"], (&[""], &["nodes", "nodes/status"]), "*", true),
                    resource(&["*"], LEASES, "*", false),
                ],
            ),
        ),
        flow("system-nodes", "system", (500, USER), all(vec![group("system:nodes")])),
        flow(
            "kube-controller-manager",
            "workload-high",
            (800, NAMESPACE),
            all(vec![user("system:kube-controller-manager")]),
        ),
        flow("kube-scheduler", "workload-high", (800, NAMESPACE), all(vec![user("system:kube-scheduler")])),
        flow("kube-system-service-accounts", "workload-high", (900, NAMESPACE), all(vec![account("kube-system", "*")])),
        flow("service-accounts", "workload-low", (9000, USER), all(vec![group("system:serviceaccounts")])),
        flow("global-default", "global-default", (9900, USER), all(authenticated())),
        flow("catch-all", "catch-all", (10_000, USER), all(authenticated())),
    ]
}

fn object(kind: &str, name: &str, spec: Value) -> Object {
    let mut object = Object::new(&format!("{GROUP}/v1"), kind);
    object.set_name(name);
    object.set_annotation(AUTO_UPDATE, "true");
    object.set_at(&["spec"], spec);
    object
}

fn flow(name: &str, level: &str, (precedence, distinguisher): (i64, &str), rule: Value) -> Object {
    let mut spec = value!({
        "matchingPrecedence": precedence,
        "priorityLevelConfiguration": {"name": level},
        "rules": [(rule)],
    });
    if !distinguisher.is_empty() {
        spec.set_at(&["distinguisherMethod", "type"], distinguisher);
    }
    object("FlowSchema", name, spec)
}

fn list(items: Vec<Value>) -> Value {
    items.into_iter().collect()
}

/// A rule for whatever the subjects do.
fn all(subjects: Vec<Value>) -> Value {
    value!({
        "subjects": (list(subjects)),
        "resourceRules": [(resource(&["*"], (&["*"], &["*"]), "*", true))],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    })
}

fn some(subjects: Vec<Value>, rules: Vec<Value>) -> Value {
    value!({"subjects": (list(subjects)), "resourceRules": (list(rules))})
}

fn resource(verbs: &[&str], (groups, resources): (&[&str], &[&str]), namespace: &str, cluster: bool) -> Value {
    let texts = |texts: &[&str]| texts.iter().copied().collect::<Value>();
    let mut rule = value!({
        "verbs": (texts(verbs)), "apiGroups": (texts(groups)), "resources": (texts(resources)), "namespaces": [namespace],
    });
    if cluster {
        rule.set_at(&["clusterScope"], true);
    }
    rule
}

fn user(name: &str) -> Value {
    value!({"kind": "User", "user": {"name": name}})
}

fn group(name: &str) -> Value {
    value!({"kind": "Group", "group": {"name": name}})
}

fn account(namespace: &str, name: &str) -> Value {
    value!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}})
}
