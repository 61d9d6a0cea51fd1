use std::collections::BTreeMap;

use super::host::{self, HostLook};
use super::look::{ApiLook, Objects, Raw, Unseen};
use super::*;
use crate::context::Context;
use crate::world::etcd::EtcdError;
use crate::world::simulated::{Faults, Lab};
use crate::world::{EtcdLook, EtcdMember, Power, Survey};

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
    let machines = machines.map(|(name, power)| (name.to_owned(), power)).into();
    Survey { image: true, stocked: true, network: true, machines }
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
        ready: Ok(true),
        objects: Ok(Objects {
            nodes: vec![node("demo-control-plane-1", "True"), node("demo-small-1", "False")],
            pods: vec![
                pod("etcd-demo-control-plane-1", "demo-control-plane-1", true, serde_json::json!({})),
                pod("kube-proxy-x7k2p", "demo-small-1", false, crashing),
            ],
        }),
    }
}

fn listed(id: u64, name: &str, leader: u64) -> EtcdMember {
    EtcdMember { id, name: name.to_owned(), peer: String::new(), learner: name.is_empty(), leader: id == leader }
}

/// What the only voter says, which has a learner beside it.
fn etcd(leader: u64) -> EtcdLook {
    EtcdLook {
        id: 17,
        version: "3.5.16".to_owned(),
        leader,
        bytes: 4096,
        complaints: vec!["memberID:17 alarm:NOSPACE".to_owned()],
        members: vec![listed(17, "demo-control-plane-1", leader), listed(18, "", leader)],
    }
}

fn failed<T>(why: &str) -> Result<T, Unseen> {
    Err(Unseen::Failed(why.to_owned()))
}

fn late<T>(why: &str) -> Result<T, Unseen> {
    Err(Unseen::Late(why.to_owned()))
}

#[test]
fn what_a_machine_says_is_read_and_what_is_not_at_home_there_is_left_out() {
    let look = host::parse(SAID);
    assert_eq!(look.components, "v0.1.0-one");
    let units: Vec<(&str, &str)> = look.units.iter().map(|(name, state)| (name.as_str(), state.as_str())).collect();
    let expected = [("containerd", "activating (auto-restart)"), ("etcd", "inactive (dead)"), ("kubelet", "active")];
    assert_eq!(units, expected);
    assert_eq!(host::parse("kubelet-certificate ???\nclock x\n"), HostLook::default());
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
        ("demo-small-1".to_owned(), failed("connection refused")),
    ]);
    let etcd = BTreeMap::from([("demo-control-plane-1".to_owned(), Ok(etcd(17)))]);
    let now = jiff::Timestamp::from_second(1_000_000_000).unwrap();
    let status = assemble(&context, &Raw { survey: Ok(survey(Power::On)), hosts, etcd, api: Ok(api()) }, now);
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
        "  etcd: member demo-control-plane-1 says: memberID:17 alarm:NOSPACE",
        "  etcd: member \"\" (12) is no machine of the topology",
        "Not seen:\n  demo-small-1: connection refused",
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
    let etcd = BTreeMap::new();
    let raw = Raw { survey: Ok(survey(Power::Off)), hosts, etcd, api: failed("connection refused") };
    let status = assemble(&context, &raw, jiff::Timestamp::now());
    let text = text(&status);
    assert_eq!(status.state, "degraded");
    for line in ["demo-small-1 is switched off", "does not answer: connection refused", "certificates until 20"] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let (hosts, etcd) = (BTreeMap::new(), BTreeMap::new());
    let raw = Raw { survey: Err("no libvirt".to_owned()), hosts, etcd, api: failed("no") };
    let status = assemble(&context, &raw, jiff::Timestamp::now());
    assert!(status.machines.iter().all(|machine| machine.power == "unknown"));
    assert!(status.unseen.contains(&"machines: no libvirt".to_owned()));
}

#[tokio::test]
async fn what_takes_too_long_is_unknown_and_no_problem() {
    let (_lab, context) = lab().await;
    let nodes = |ready: Result<bool, Unseen>, objects: Result<Objects, Unseen>| {
        let names = ["demo-control-plane-1", "demo-small-1"].map(str::to_owned);
        Raw {
            survey: Ok(survey(Power::On)),
            hosts: names.into_iter().map(|name| (name, Ok(well()))).collect(),
            etcd: BTreeMap::from([("demo-control-plane-1".to_owned(), late("etcd is late"))]),
            api: Ok(ApiLook { ready, objects, ..api() }),
        }
    };
    let now = jiff::Timestamp::now();
    let status = assemble(&context, &nodes(late("readyz is late"), late("lists are late")), now);
    assert_eq!((status.state, status.problems.len()), ("unknown", 0), "{}", text(&status));
    assert!(text(&status).contains("unknown (v1.35.0)"), "{}", text(&status));
    for why in ["readyz is late", "lists are late", "demo-control-plane-1: etcd is late"] {
        assert!(status.unseen.iter().any(|line| line.contains(why)), "{why}: {:?}", status.unseen);
    }
    let status = assemble(&context, &nodes(Ok(false), Ok(Objects::default())), now);
    assert!(status.problems.iter().any(|problem| problem.contains("is not ready")), "{:?}", status.problems);

    let raw = Raw { api: late("all is late"), ..nodes(Ok(true), Ok(Objects::default())) };
    let status = assemble(&context, &raw, now);
    assert_eq!((status.state, status.problems.len(), status.api.ready), ("unknown", 0, None), "{}", text(&status));
    let raw = Raw { api: failed("refused"), ..raw };
    let status = assemble(&context, &raw, now);
    assert_eq!((status.state, status.problems.len(), status.api.ready), ("degraded", 1, Some(false)));

    let late_host = BTreeMap::from([("demo-small-1".to_owned(), late("the script took too long"))]);
    let status = assemble(&context, &Raw { hosts: late_host, ..raw }, now);
    assert!(text(&status).contains("on  SSH unknown"), "{}", text(&status));
}

#[tokio::test]
async fn a_member_is_what_its_own_machine_says_and_else_what_is_known_of_it() {
    let mut lab = Lab::new("{controlPlane: {replicas: 3}, loadBalancer: {replicas: 1}}");
    let context = lab.context();
    let names = ["demo-control-plane-1", "demo-control-plane-2", "demo-control-plane-3"];
    let members: Vec<EtcdMember> = (1..).zip(names).map(|(id, name)| listed(id, name, 2)).collect();
    let look = |id, leader| Ok(EtcdLook { id, leader, members: members.clone(), ..EtcdLook::default() });
    let states = |looks: [Result<EtcdLook, Unseen>; 3]| {
        let etcd: BTreeMap<_, _> = names.map(str::to_owned).into_iter().zip(looks).collect();
        let raw = Raw { survey: Err("x".to_owned()), hosts: BTreeMap::new(), etcd, api: Ok(api()) };
        let status = assemble(&context, &raw, jiff::Timestamp::now());
        let found: Vec<&str> = status.etcd.iter().map(|member| member.state).collect();
        (found.join(" "), status.problems.join("\n"), status.unseen.join("\n"))
    };
    let (found, problems, unseen) = states([look(1, 2), look(2, 2), look(3, 0)]);
    assert_eq!(found, "follower leader leaderless");
    assert!(problems.contains("member demo-control-plane-3 sees no leader"), "{problems}\n{unseen}");
    let (found, problems, unseen) = states([look(1, 2), late("too slow"), failed("refused")]);
    assert_eq!(found, "follower unknown unreachable");
    assert!(problems.contains("member demo-control-plane-3 (3) does not answer: refused"), "{problems}");
    assert!(unseen.contains("member demo-control-plane-2 (2): too slow"), "{unseen}");
    assert!(!problems.contains("too slow"), "{problems}");
    let (found, _, unseen) = states([failed("refused"), late("too slow"), failed("refused")]);
    assert_eq!((found.as_str(), unseen.matches("demo-control-plane-").count()), ("", 3), "{unseen}");
}

/// The errors that are raised where a machine or a member is asked.
#[test]
fn what_is_late_is_told_apart_from_what_fails() {
    let machine = || "m".to_owned();
    let limit = std::time::Duration::from_secs(1);
    let slow = EtcdError::Late { machine: machine(), limit };
    assert!(matches!(Unseen::from(anyhow::Error::from(slow)), Unseen::Late(_)));
    let slow = ssh::SshError::TimedOut { host: machine(), command: "sh".to_owned(), limit };
    assert!(matches!(Unseen::from(anyhow::Error::from(slow)), Unseen::Late(_)));
    let gone = EtcdError::Unreachable { machine: machine(), why: "refused".to_owned() };
    assert_eq!(Unseen::from(anyhow::Error::from(gone)).to_string(), "no connection to etcd on m: refused");
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
    let (hosts, etcd) = (BTreeMap::new(), BTreeMap::new());
    let raw = Raw { survey: Ok(survey(Power::On)), hosts, etcd, api: Ok(api()) };
    let status = assemble(&context, &raw, later);
    assert!(status.problems.iter().any(|problem| problem.contains("expires in ")), "{:?}", status.problems);
    let first = &status.certificates[0];
    assert!(first.days < 30 && first.machine != "cluster", "{first:?}");
}
