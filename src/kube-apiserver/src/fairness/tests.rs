use std::collections::BTreeSet;

use apimachinery::value;
use http::Method;

use super::schema::Queuing;
use super::*;

fn limits(total: usize) -> LimitArgs {
    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        limits: LimitArgs,
    }
    let mut limits = <Flags as clap::Parser>::parse_from(["x"]).limits;
    (limits.max_requests_inflight, limits.max_mutating_requests_inflight) = (total, 0);
    limits
}

fn get(path: &str) -> RequestInfo {
    RequestInfo::parse(&Method::GET, path, "")
}

#[test]
fn the_default_schemas_put_everybody_where_upstream_does() {
    let fairness = Fairness::new(&limits(600));
    let check = |name: &str, groups: &[&str], info: &RequestInfo, expected: (&str, &str)| {
        let mut groups = groups.to_vec();
        groups.push("system:authenticated");
        let place = fairness.place(info, &User::new(name, groups));
        assert_eq!((&*place.schema, &*place.level), expected, "{name} {}", info.path);
    };
    let lease =
        RequestInfo::parse(&Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n", "");
    let node: &[&str] = &["system:nodes"];
    check("admin", &["system:masters"], &get("/api/v1/pods"), ("exempt", "exempt"));
    check("anybody", &[], &get("/livez"), ("probes", "exempt"));
    check("anybody", &[], &get("/api/v1/pods"), ("global-default", "global-default"));
    check("system:node:n", node, &lease, ("system-node-high", "node-high"));
    let status = RequestInfo::parse(&Method::PATCH, "/api/v1/nodes/n/status", "");
    check("system:node:n", node, &status, ("system-node-high", "node-high"));
    check("system:node:n", node, &get("/api/v1/namespaces/a/pods/p"), ("system-nodes", "system"));
    check("system:kube-scheduler", &[], &lease, ("system-leader-election", "leader-election"));
    check("system:kube-scheduler", &[], &get("/api/v1/pods"), ("kube-scheduler", "workload-high"));
    let own = "system:serviceaccount:kube-system:job-controller";
    check(own, &["system:serviceaccounts"], &get("/api/v1/pods"), ("kube-system-service-accounts", "workload-high"));
    let other = "system:serviceaccount:default:app";
    check(other, &["system:serviceaccounts"], &get("/api/v1/pods"), ("service-accounts", "workload-low"));
}

#[test]
fn a_flow_is_always_dealt_the_same_different_queues() {
    let queuing = Queuing { queues: 16, hand: 6, length: 1 };
    let mut hands = BTreeSet::new();
    for flow in (0..200_u64).map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
        let hand = seats::deal(flow, &queuing);
        assert_eq!(hand, seats::deal(flow, &queuing));
        let different: BTreeSet<usize> = hand.iter().copied().collect();
        assert!(different.len() == 6 && different.iter().all(|queue| *queue < 16), "{hand:?}");
        hands.insert(different);
    }
    assert!(hands.len() > 150);
}

fn level(name: &str, (shares, lendable): (i64, i64), length: i64) -> Object {
    let mut object = Object::new("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration");
    object.set_name(name);
    let response = if length == 0 {
        value!({"type": "Reject"})
    } else {
        value!({"type": "Queue", "queuing": {"queues": 4, "handSize": 1, "queueLengthLimit": length}})
    };
    object.set_at(
        &["spec"],
        value!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": (response),
        }}),
    );
    object
}

/// Levels `a` (lends half of its 4 seats) and `b` (4 seats, lends none).
fn two_levels(length: i64) -> Seats {
    let mut seats = Seats::new(8);
    let levels = schema::levels(&[level("a", (50, 50), length), level("b", (50, 0), length)]);
    seats.configure(levels.into_iter().map(|(name, level)| (name, level.spec)));
    seats
}

fn seated(entry: &Entry) -> bool {
    matches!(entry, Entry::Seated(_))
}

#[test]
fn a_level_borrows_what_another_lends_and_gets_back_what_is_its_own() {
    let mut seats = two_levels(0);
    assert_eq!((0..10).filter(|_| seated(&seats.enter("b", 0, 1))).count(), 6);
    // What was lent does not keep the lender from its nominal seats.
    assert_eq!((0..10).filter(|_| seated(&seats.enter("a", 0, 1))).count(), 4);
    seats.leave("b", 1);
    assert!(!seated(&seats.enter("b", 0, 1)), "the lender needs its seats now");
    assert_eq!(seats.load("b"), (5, 0));
}

#[test]
fn queues_take_turns_and_are_short() {
    let mut seats = two_levels(2);
    for _ in 0..4 {
        assert!(seated(&seats.enter("a", 0, 1)));
    }
    let flood: Vec<Entry> = (0..5).map(|_| seats.enter("a", 0, 1)).collect();
    assert_eq!(flood.iter().filter(|entry| matches!(entry, Entry::Full)).count(), 3);
    let Entry::Wait(mut other) = seats.enter("a", 1, 1) else { panic!("another flow has another queue") };
    seats.leave("a", 1);
    seats.leave("a", 1);
    // One of the flood, then the other flow, although it came last.
    assert_eq!(other.called.try_recv(), Ok(1));
    seats.seated(other.id);
    assert_eq!(seats.load("a"), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_sent_away_and_leaves_nothing_behind() {
    let fairness = Arc::new(Fairness::new(&limits(8)));
    let metrics = Metrics::default();
    let user = User::new("u", ["system:authenticated"]);
    let place = fairness.place(&get("/api/v1/pods"), &user);
    let mut tickets = Vec::new();
    while fairness.seats().load("global-default").1 == 0 && tickets.len() < 100 {
        let entered = tokio::time::timeout(Duration::from_millis(1), fairness.enter(&place, 1, &metrics)).await;
        let Ok(Ok(ticket)) = entered else { break };
        tickets.push(ticket);
    }
    let in_use = u32::try_from(tickets.len()).unwrap();
    assert_eq!(fairness.seats().load("global-default"), (in_use, 0));
    let refused = fairness.enter(&place, 1, &metrics).await;
    assert_eq!(refused.err().map(|status| status.code()), Some(429));
    // A heartbeat has seats of its own all the while.
    let lease =
        RequestInfo::parse(&Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n", "");
    let kubelet = User::new("system:node:n", ["system:nodes", "system:authenticated"]);
    let vital = fairness.place(&lease, &kubelet);
    assert!(fairness.enter(&vital, 1, &metrics).await.is_ok());
    drop(tickets);
    assert_eq!(fairness.seats().load("global-default"), (0, 0));
}
