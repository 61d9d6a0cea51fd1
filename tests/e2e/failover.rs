//! A highly available cluster outlives each of its machines: somebody reads fifty times a second through the virtual
//! address and writes twice, while machines lose their power one after another and get it back.

use std::collections::BTreeSet;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use harness::Lab;

use crate::probe::Probe;

/// An emulated machine takes a minute to boot, and the cluster a while to see it: longest where ten of them share two processors
/// with somebody who asks all the time.
pub(crate) const PATIENCE: Duration = Duration::from_mins(15);
/// Longer than the controllers' patience with a node that is silent.
const GIVEN_UP: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often a process is asked whether it has come so far.
const GLANCE: Duration = Duration::from_millis(20);

/// Pulls the plug of machines in turn: of those that lead something, then of all others, and last of all balancers at once.
pub(crate) fn machines_may_fail(lab: &Lab, cluster: &str, topology: &str) {
    let probe = Probe::start(crate::network::namespace(lab), lab, &virtual_address(lab));
    let mut left: BTreeSet<String> = machines(lab, cluster).into_iter().collect();
    for (what, find) in LEADERS {
        let machine = find(lab, cluster).unwrap_or_else(|| panic!("nobody is the {what}"));
        println!("{machine} is the {what}");
        let mut session = Session::start(lab, cluster, &machine);
        fails_and_comes_back(lab, &machine, topology, &probe);
        session.is_over();
        left.remove(&machine);
    }
    for machine in left {
        fails_and_comes_back(lab, &machine, topology, &probe);
    }
    nodes_do_without_balancers(lab, cluster, topology);
    probe.nothing_acknowledged_is_lost();
}

type Find = fn(&Lab, &str) -> Option<String>;
const LEADERS: [(&str, Find); 3] =
    [("etcd leader", etcd_leader), ("scheduler's leader", scheduler_leader), ("active balancer", active_balancer)];

/// Somebody who is logged in to a machine.
struct Session(Child);

impl Session {
    fn start(lab: &Lab, cluster: &str, machine: &str) -> Self {
        let session = Self(lab.start(&["ssh", cluster, machine, "--", "echo logged in; exec sleep 86400"]));
        let deadline = Instant::now() + PATIENCE;
        while !lab.said().contains("logged in") {
            assert!(Instant::now() < deadline, "nobody can log in to {machine}: {}", lab.said());
            std::thread::sleep(GLANCE);
        }
        session
    }

    /// A machine that lost its power says no farewell.
    fn is_over(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the session waits for a machine that does not know it");
            std::thread::sleep(GLANCE);
        };
        assert_eq!(status.code(), Some(255), "OpenSSH's own failure");
    }
}

fn fails_and_comes_back(lab: &Lab, machine: &str, topology: &str, probe: &Probe) {
    let before = workload(lab, machine);
    assert!(!before.is_empty(), "the whole workload runs on {machine}");
    probe.forget();
    virsh(lab, &["destroy", machine]);
    probe.wait_until_steady(machine);
    println!("{machine} lost its power: {}", probe.told());
    let after = workload(lab, machine);
    assert!(before.is_subset(&after), "{machine} took work of others with it: {before:?} became {after:?}");
    virsh(lab, &["start", machine]);
    lab.eventually(PATIENCE, &["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=10s"], |ran| {
        ran.code == 0
    });
    wait_until_whole(lab, topology);
}

pub(crate) fn wait_until_whole(lab: &Lab, topology: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let plan = lab.provision(&["-v", "plan", topology]);
        if plan.code == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "the cluster is not whole again: {plan:?}");
        // Each look logs in to every machine, which is work for those that have just come back.
        std::thread::sleep(LOOK_EVERY);
    }
}

/// With no balancer at all nodes go on telling that they live: they know every API server themselves.
fn nodes_do_without_balancers(lab: &Lab, cluster: &str, topology: &str) {
    let since = "jsonpath={range .items[*]}{.status.conditions[?(@.type=='Ready')].lastTransitionTime} {end}";
    let before = lab.kubectl(&["get", "nodes", "-o", since]);
    let balancers: Vec<_> =
        machines(lab, cluster).into_iter().filter(|machine| machine.contains("load-balancer")).collect();
    for balancer in &balancers {
        virsh(lab, &["destroy", balancer]);
    }
    std::thread::sleep(GIVEN_UP);
    for balancer in &balancers {
        virsh(lab, &["start", balancer]);
    }
    let after = lab.eventually(PATIENCE, &["get", "nodes", "-o", since], |ran| ran.code == 0).stdout;
    assert_eq!(after, before, "a node was given up while there was no balancer");
    wait_until_whole(lab, topology);
    println!("{} balancers were off for {} s, and no node was given up", balancers.len(), GIVEN_UP.as_secs());
}

/// The workload's pods on other machines than `machine`, with how often their containers were restarted.
fn workload(lab: &Lab, machine: &str) -> BTreeSet<String> {
    let each = "{.spec.nodeName} {.metadata.name} {.status.containerStatuses[0].restartCount}";
    let output = format!("jsonpath={{range .items[*]}}{each}{{'\\n'}}{{end}}");
    let text = lab.eventually(PATIENCE, &["get", "pods", "-l", "app=web", "-o", &output], |ran| ran.code == 0).stdout;
    text.lines().filter(|line| !line.starts_with(machine) && line.ends_with(" 0")).map(str::to_owned).collect()
}

pub(crate) fn machines(lab: &Lab, cluster: &str) -> Vec<String> {
    let prefix = format!("{cluster}-");
    virsh(lab, &["list", "--all", "--name"])
        .lines()
        .filter(|name| name.starts_with(&prefix))
        .map(str::to_owned)
        .collect()
}

pub(crate) fn etcd_leader(lab: &Lab, cluster: &str) -> Option<String> {
    let ask = "etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt \
               --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt --key=/etc/kubernetes/pki/etcd/healthcheck-client.key \
               --command-timeout=20s endpoint status -w json";
    machines(lab, cluster).into_iter().find(|machine| {
        let said = lab.provision(&["ssh", cluster, machine, "--", ask]).stdout;
        let Ok(status) = serde_json::from_str::<serde_json::Value>(&said) else { return false };
        let status = &status[0]["Status"];
        status["leader"].is_u64() && status["leader"] == status["header"]["member_id"]
    })
}

fn scheduler_leader(lab: &Lab, cluster: &str) -> Option<String> {
    let holder = "jsonpath={.spec.holderIdentity}";
    let ask = ["get", "lease", "-n", "kube-system", "kube-scheduler", "-o", holder];
    let holder = lab.eventually(PATIENCE, &ask, |ran| ran.code == 0).stdout;
    machines(lab, cluster).into_iter().find(|machine| holder.starts_with(machine.as_str()))
}

fn active_balancer(lab: &Lab, cluster: &str) -> Option<String> {
    let address = virtual_address(lab);
    machines(lab, cluster).into_iter().find(|machine| {
        let said = lab.provision(&["ssh", cluster, machine, "--", "ip -oneline -4 address"]).stdout;
        said.contains(&format!(" {address}/"))
    })
}

pub(crate) fn virtual_address(lab: &Lab) -> String {
    let state = std::fs::read(lab.state().join("cluster.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    state["virtualAddress"].as_str().expect("the cluster has a virtual address").to_owned()
}

/// Asks the private libvirt daemon, past provision: nobody is told that a machine loses its power.
pub(crate) fn virsh(lab: &Lab, args: &[&str]) -> String {
    let record = std::fs::read(lab.state().join("embedded/supervisor.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let output = Command::new("virsh").args(["-c", record["uri"].as_str().unwrap()]).args(args).output().unwrap();
    assert!(output.status.success(), "virsh {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
