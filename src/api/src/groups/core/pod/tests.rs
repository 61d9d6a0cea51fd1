use super::*;
use crate::groups::tests::{cells, defaulted, errors, row, update_errors};

fn shown(status: Value, extra: Value) -> String {
    let mut pod = value!({
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T23:59:00Z"},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n1"},
    });
    pod.set_at(&["status"], status);
    if let Value::Map(extra) = extra {
        for (key, value) in extra {
            let path: Vec<&str> = key.split('.').collect();
            pod.set_at(&path, value);
        }
    }
    let all = cells("pods", pod);
    let end = all.find(" [").unwrap();
    all["Name=p ".len()..end].to_owned()
}

#[test]
fn the_state_of_containers_decides_what_is_printed() {
    let check = |status: Value, expected: &str| assert_eq!(shown(status, value!({})), expected);
    let running = value!({"ready": true, "restartCount": 0, "state": {"running": {}}});
    check(value!({"phase": "Pending"}), "Ready=0/2 Status=Pending Restarts=0 Age=60s");
    check(
        value!({"phase": "Running", "containerStatuses": [(running.clone()), (running.clone())]}),
        "Ready=2/2 Status=Running Restarts=0 Age=60s",
    );
    check(
        value!({"phase": "Running", "containerStatuses": [(running.clone()), {
            "ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"finishedAt": "2026-01-01T23:59:50Z", "exitCode": 1}}}]}),
        "Ready=1/2 Status=CrashLoopBackOff Restarts=3 (10s ago) Age=60s",
    );
    check(
        value!({"phase": "Failed", "containerStatuses": [
            {"state": {"terminated": {"exitCode": 2}}}, {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
        "Ready=0/2 Status=ExitCode:2 Restarts=0 Age=60s",
    );
    check(
        value!({"phase": "Running", "containerStatuses": [
            {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}, (running.clone())],
            "conditions": [{"type": "Ready", "status": "False"}]}),
        "Ready=1/2 Status=NotReady Restarts=0 Age=60s",
    );
    check(value!({"phase": "Failed", "reason": "Evicted"}), "Ready=0/2 Status=Evicted Restarts=0 Age=60s");
    check(
        value!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
        "Ready=0/2 Status=SchedulingGated Restarts=0 Age=60s",
    );
}

#[test]
fn init_containers_and_sidecars_are_told_apart() {
    let init = value!({"spec.initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]});
    let check = |status: Value, expected: &str| assert_eq!(shown(status, init.clone()), expected);
    check(
        value!({"phase": "Pending", "initContainerStatuses": [
            {"name": "i", "state": {"running": {}}}, {"name": "s", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
        "Ready=0/3 Status=Init:0/2 Restarts=0 Age=60s",
    );
    check(
        value!({"phase": "Pending", "initContainerStatuses": [
            {"name": "i", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
        "Ready=0/3 Status=Init:CrashLoopBackOff Restarts=2 Age=60s",
    );
    check(
        value!({"phase": "Pending", "initContainerStatuses": [
            {"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}),
        "Ready=0/3 Status=Init:Error Restarts=0 Age=60s",
    );
    let running = value!({"ready": true, "state": {"running": {}}});
    check(
        value!({"phase": "Running", "initContainerStatuses": [
                {"name": "i", "restartCount": 4, "state": {"terminated": {"exitCode": 0}}},
                {"name": "s", "restartCount": 1, "started": true, "ready": true, "state": {"running": {}}}],
            "containerStatuses": [(running.clone()), (running.clone())]}),
        "Ready=3/3 Status=Running Restarts=1 Age=60s",
    );
}

#[test]
fn deletion_shows_while_it_lasts() {
    let gone = value!({"metadata.deletionTimestamp": "2026-01-02T00:00:00Z"});
    let check = |status: Value, expected: &str| assert_eq!(shown(status, gone.clone()), expected);
    check(value!({"phase": "Running"}), "Ready=0/2 Status=Terminating Restarts=0 Age=60s");
    check(value!({"phase": "Running", "reason": "NodeLost"}), "Ready=0/2 Status=Unknown Restarts=0 Age=60s");
    check(value!({"phase": "Succeeded"}), "Ready=0/2 Status=Succeeded Restarts=0 Age=60s");
}

#[test]
fn the_class_follows_from_requests_and_limits() {
    let check = |resources: Value, expected: &str| {
        let pod = defaulted("pods", value!({"spec": {"containers": [{"name": "c", "resources": resources}]}}));
        assert_eq!(qos_class(&pod), expected);
    };
    check(value!({}), "BestEffort");
    check(value!({"requests": {"cpu": "0"}}), "BestEffort");
    check(value!({"requests": {"cpu": "100m"}}), "Burstable");
    check(value!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed");
    check(
        value!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}),
        "Guaranteed",
    );
    check(value!({"limits": {"cpu": "1"}}), "Burstable");
}

#[test]
fn pods_on_the_network_of_the_host_take_its_ports() {
    let pod = defaulted(
        "pods",
        value!({"spec": {"hostNetwork": true, "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]}}),
    );
    assert_eq!(pod.i64_at(&["spec", "containers", "0", "ports", "0", "hostPort"]), Some(80));
    assert!(pod.bool_at(&["spec", "enableServiceLinks"]));
}

#[test]
fn little_of_a_pod_may_change() {
    let pod =
        |image: &str| value!({"spec": {"containers": [{"name": "c", "image": image, "imagePullPolicy": "Never"}]}});
    let check = |change: fn(&mut Value), expected: usize| {
        let mut new = pod("a");
        change(&mut new);
        let errors = update_errors("pods", new, pod("a"));
        assert_eq!(errors.len(), expected, "{errors:?}");
    };
    check(|_| {}, 0);
    check(|pod| pod.set_at(&["spec", "containers", "0", "image"], "b"), 0);
    check(|pod| pod.set_at(&["spec", "tolerations"], value!([{"operator": "Exists"}])), 0);
    check(|pod| pod.set_at(&["spec", "activeDeadlineSeconds"], 5), 0);
    check(|pod| pod.set_at(&["spec", "nodeName"], "n"), 1);
    check(|pod| pod.set_at(&["spec", "containers", "0", "command"], value!(["x"])), 1);
    check(|pod| pod.set_at(&["spec", "schedulingGates"], value!([{"name": "g"}])), 1);
    check(|pod| pod.set_at(&["spec", "containers"], value!([])), 1);
}

fn part_errors(action: crate::Action, new: Value, old: Value) -> Vec<String> {
    let (new, old) = (defaulted("pods", new), defaulted("pods", old));
    (row("pods").strategy.validate_part)(action, &new, &old).iter().map(ToString::to_string).collect()
}

#[test]
fn ephemeral_containers_are_added_and_stay() {
    let pod = |containers: Value| value!({"spec": {"containers": [{"name": "c", "image": "i"}], "ephemeralContainers": (containers)}});
    let debug = |image: &str| value!({"name": "d", "image": image});
    let check = |new: Value, expected: &[&str]| {
        assert_eq!(part_errors(crate::Action::EphemeralContainers, pod(new), pod(value!([(debug("a"))]))), expected);
    };
    let mut aimed = debug("b");
    aimed.set_at(&["name"], "e");
    aimed.set_at(&["targetContainerName"], "none");
    check(value!([(debug("a"))]), &[]);
    check(value!([(debug("a")), (aimed)]), &[r#"spec.ephemeralContainers[1].targetContainerName: Not found: "none""#]);
    check(
        value!([(debug("b"))]),
        &["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be changed\n"],
    );
    check(
        value!([]),
        &["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n"],
    );
}

#[test]
fn a_running_pod_is_resized_within_its_class() {
    let pod =
        |resources: Value| value!({"spec": {"containers": [{"name": "c", "image": "i", "resources": (resources)}]}});
    let old = || value!({"requests": {"cpu": "1", "example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}});
    let check = |new: Value, expected: &[&str]| {
        assert_eq!(part_errors(crate::Action::Resize, pod(new), pod(old())), expected);
    };
    let mut more = old();
    more.set_at(&["requests", "cpu"], "2");
    check(more, &[]);
    let mut best_effort = old();
    best_effort.remove_at(&["requests", "cpu"]);
    check(
        best_effort,
        &[
            r#"spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing"#,
            "spec.containers[0].resources.requests[cpu]: Forbidden: resource requests cannot be removed",
        ],
    );
    let mut devices = old();
    devices.set_at(&["requests", "example.com/gpu"], "2");
    devices.set_at(&["limits", "example.com/gpu"], "2");
    check(
        devices,
        &[
            "spec.containers[0].resources.requests: Forbidden: only cpu and memory resources are mutable",
            "spec.containers[0].resources.limits: Forbidden: only cpu and memory resources are mutable",
        ],
    );
}

#[test]
fn a_mirror_must_say_where_it_is() {
    let pod = value!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(
        errors("pods", pod),
        [
            r#"metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "": must set spec.nodeName if mirror pod annotation is set"#
        ]
    );
}
