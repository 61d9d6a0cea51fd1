use std::collections::BTreeMap;

use super::host::{self, HostLook};
use super::look::{ApiLook, Raw};
use super::*;
use crate::context::Context;
use crate::world::simulated::{Faults, Lab};
use crate::world::{Power, Survey};

const SPEC: &str = "{workers: [{name: small}]}";
const SAID: &str = "clock 1000000000
components v0.1.0-one
unit Id=kubelet.service
unit ActiveState=active
unit SubState=running
unit UnitFileState=enabled
unit 
unit Id=containerd.service
unit ActiveState=activating
unit SubState=auto-restart
unit UnitFileState=enabled
unit 
unit Id=etcd.service
unit ActiveState=inactive
unit SubState=dead
unit UnitFileState=enabled
unit 
unit Id=haproxy.service
unit ActiveState=inactive
unit SubState=dead
unit UnitFileState=disabled
etcd [{\"Endpoint\":\"x\",\"Status\":{\"header\":{\"member_id\":17},\"version\":\"3.5.16\",\"leader\":17,\"dbSize\":4096}}]
members {\"members\":[{\"ID\":17,\"name\":\"demo-control-plane-1\"},{\"ID\":18,\"name\":\"\",\"isLearner\":true}]}
";

/// A cluster with a worker that is on or off, and what its machines and API say.
async fn lab() -> (Lab, Context) {
    let mut lab = Lab::new(SPEC);
    lab.up(Faults::None, 0).await.plan();
    lab.desired().vault.save(&lab.state).unwrap();
    let context = lab.context();
    (lab, context)
}

fn survey(worker: Power) -> Survey {
    let machines = [("demo-control-plane-1", Power::On), ("demo-small-1", worker)];
    Survey { image: true, network: true, machines: machines.map(|(name, power)| (name.to_owned(), power)).into() }
}

fn well() -> HostLook {
    HostLook { units: BTreeMap::from([("kubelet".to_owned(), "active".to_owned())]), ..HostLook::default() }
}

fn api() -> ApiLook {
    let node = |name: &str, ready: &str| {
        serde_json::from_value(serde_json::json!({
            "metadata": { "name": name },
            "status": {
                "conditions": [{ "type": "Ready", "status": ready, "reason": "KubeletReady", "message": "why" }],
                "nodeInfo": { "architecture": "", "bootID": "", "containerRuntimeVersion": "containerd://1.7",
                    "kernelVersion": "", "kubeProxyVersion": "", "kubeletVersion": "v1.35.0", "machineID": "",
                    "operatingSystem": "", "osImage": "", "systemUUID": "" },
            },
        }))
        .unwrap()
    };
    let pod = |name: &str, node: &str, ready: bool, state: serde_json::Value| {
        serde_json::from_value(serde_json::json!({
            "metadata": { "name": name }, "spec": { "nodeName": node, "containers": [] },
            "status": { "phase": "Running", "containerStatuses": [{
                "name": "c", "image": "", "imageID": "", "ready": ready, "restartCount": 2, "state": state }] },
        }))
        .unwrap()
    };
    let crashing = serde_json::json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    ApiLook {
        version: "v1.35.0".to_owned(),
        ready: true,
        nodes: vec![node("demo-control-plane-1", "True"), node("demo-small-1", "False")],
        pods: vec![
            pod("etcd-demo-control-plane-1", "demo-control-plane-1", true, serde_json::json!({})),
            pod("kube-proxy-x7k2p", "demo-small-1", false, crashing),
        ],
    }
}

#[test]
fn what_a_machine_says_is_read_and_what_is_not_at_home_there_is_left_out() {
    let look = host::parse(SAID);
    assert_eq!(look.components, "v0.1.0-one");
    let units: Vec<(&str, &str)> = look.units.iter().map(|(name, state)| (name.as_str(), state.as_str())).collect();
    let expected = [("containerd", "activating (auto-restart)"), ("etcd", "inactive (dead)"), ("kubelet", "active")];
    assert_eq!(units, expected);
    assert_eq!(look.etcd.unwrap().version, "3.5.16");
    assert!(look.members[1].learner && look.members.len() == 2);
    assert_eq!(host::parse("etcd \nmembers \nkubelet-certificate ???\nclock x\n"), HostLook::default());
}

/// The script is what a shell takes, and says something even where nothing of ours is.
#[test]
fn the_script_for_machines_runs_anywhere() {
    let output = std::process::Command::new("sh").args(["-euc", &host::script()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(host::parse(&String::from_utf8_lossy(&output.stdout)).clock.is_some());
}

#[tokio::test]
async fn everything_that_is_wrong_is_a_problem_with_its_reason() {
    let (_lab, context) = lab().await;
    let hosts = BTreeMap::from([
        ("demo-control-plane-1".to_owned(), Ok(host::parse(SAID))),
        ("demo-small-1".to_owned(), Err("timed out".to_owned())),
    ]);
    let now = jiff::Timestamp::from_second(1_000_000_000).unwrap();
    let status = assemble(&context, &Raw { survey: Ok(survey(Power::On)), hosts, api: Ok(api()) }, now);
    let text = text(&status);
    for line in [
        "demo: degraded",
        "Node Ready, v1.35.0, containerd://1.7",
        "pods: etcd running (restarts: 2)",
        "demo-small-1  small  10.80.0.11  on  SSH unreachable",
        "demo-control-plane-1 (11) leader, 3.5.16, 4 KiB",
        "  demo-control-plane-1: containerd is activating (auto-restart)",
        "  demo-small-1: kube-proxy-x7k2p is CrashLoopBackOff",
        "  Node demo-small-1: Ready is False (KubeletReady): why",
        "  etcd: member \"\" (12) is no machine of the topology",
        "Not seen:\n  demo-small-1: timed out",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert!(
        !text.contains("etcd is inactive"),
        "a unit that a package enables is not missed where etcd is a pod:\n{text}"
    );
}

#[tokio::test]
async fn a_cluster_is_looked_at_while_machines_and_api_are_down() {
    let (_lab, context) = lab().await;
    let hosts = BTreeMap::from([("demo-control-plane-1".to_owned(), Ok(well()))]);
    let raw = Raw { survey: Ok(survey(Power::Off)), hosts, api: Err("connection refused".to_owned()) };
    let status = assemble(&context, &raw, jiff::Timestamp::now());
    let text = text(&status);
    assert_eq!(status.state, "degraded");
    for line in ["demo-small-1 is switched off", "does not answer: connection refused", "certificates until 20"] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let raw = Raw { survey: Err("no libvirt".to_owned()), hosts: BTreeMap::new(), api: Err("no".to_owned()) };
    let status = assemble(&context, &raw, jiff::Timestamp::now());
    assert!(status.machines.iter().all(|machine| machine.power == "unknown"));
    assert!(status.unseen.contains(&"machines: no libvirt".to_owned()));
}

#[tokio::test]
async fn a_cluster_that_is_meant_to_be_off_has_no_problem() {
    let (mut lab, _) = lab().await;
    lab.stop(Faults::None, 0).await.plan();
    let context = lab.context();
    let status = assemble(&context, &look(&context).await, jiff::Timestamp::now());
    assert_eq!((status.state, status.problems.len(), status.unseen.len()), ("stopped", 0, 0), "{}", text(&status));
}

#[tokio::test]
async fn certificates_that_end_soon_are_a_problem() {
    let (_lab, context) = lab().await;
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 350);
    let raw = Raw { survey: Ok(survey(Power::On)), hosts: BTreeMap::new(), api: Ok(ApiLook::default()) };
    let status = assemble(&context, &raw, later);
    assert!(status.problems.iter().any(|problem| problem.contains("expires in ")), "{:?}", status.problems);
    let first = &status.certificates[0];
    assert!(first.days < 30 && first.machine != "cluster", "{first:?}");
}
