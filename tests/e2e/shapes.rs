//! Clusters of several machines: from nothing to a workload that answers on every node, workers that come and go under
//! load without a failed request, and back to nothing.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harness::{Lab, busybox_archive, skip_reason, skip_reason_of_long_tests};

use crate::network::{enter, namespace};
use crate::traces::{destroy_leaves_nothing, nobody_is_forbidden, only_what_belongs_to_machines_is_kept};

/// An emulated machine on a busy host is several times slower than a real one.
pub(crate) const PATIENCE: Duration = Duration::from_mins(8);
const NODE_PORT: u16 = 30080;
/// How long a request may take before it counts as failed.
const ANSWER: Duration = Duration::from_secs(10);
/// Serves for a minute after it has been told to end: whoever still sends it requests has not heard yet, and where all machines
/// share two emulated processors word takes up to twenty seconds. No figure of a real network hides in it.
const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 75
      containers:
      - name: web
        image: busybox:test
        imagePullPolicy: IfNotPresent
        command:
        - sh
        - -c
        - mkdir -p /www; hostname >/www/index.html; trap 'sleep 60; exit 0' TERM; httpd -f -p 8080 -h /www & wait $!; wait
        readinessProbe: {httpGet: {path: /index.html, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
";

#[test]
fn several_nodes_under_one_control_plane() {
    run("multi-node", skip_reason_of_long_tests());
}

#[test]
fn one_node_with_etcd_elsewhere() {
    run("single-node-external-etcd", skip_reason_of_long_tests());
}

#[test]
fn several_nodes_with_etcd_elsewhere() {
    run("multi-node-external-etcd", skip_reason_of_long_tests());
}

#[test]
fn high_availability_with_etcd_stacked() {
    run("ha-stacked", skip_reason());
}

#[test]
fn high_availability_with_etcd_elsewhere() {
    run("ha-external-etcd", skip_reason());
}

/// When all tests are asked for, each machine of a highly available cluster loses its power, and then all of them do.
fn run(example: &str, skipped: Option<String>) {
    if let Some(reason) = skipped {
        return println!("skipped: {reason}");
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topologies").join(format!("{example}.yaml"));
    // Many machines share two cores here: one virtual CPU each is quicker than two.
    let text = std::fs::read_to_string(source).unwrap().replace("cpus: 2", "cpus: 1").replace("2Gi", "1536Mi");
    let lab = Lab::new(example);
    let topology = lab.write("topology.yaml", text.as_bytes()).display().to_string();
    let clock = Clock(Instant::now());
    make(&lab, &topology);
    clock.tell("made");
    every_node_is_ready(&lab, &text);
    a_workload_answers_on_every_node(&lab, example);
    clock.tell("answers on every node");
    if text.contains("loadBalancer:") && skip_reason_of_long_tests().is_none() {
        crate::failover::machines_may_fail(&lab, example, &topology);
        clock.tell("outlived its machines");
        it_starts_from_cold(&lab, example, &topology);
        clock.tell("started from cold");
    }
    if text.contains("workers:") {
        workers_come_and_go_under_load(&lab, example);
        clock.tell("workers came and went");
    }
    let again = lab.provision(&["apply", &topology, "--yes"]);
    assert_eq!(again.code, 0, "{again:?}");
    nothing_is_left_to_do(&lab, &topology);
    nobody_is_forbidden(&lab);
    only_what_belongs_to_machines_is_kept(&lab);
    destroy_leaves_nothing(&lab, example);
    clock.tell("gone");
}

/// Says how long a life has taken so far: nothing is asserted of it.
struct Clock(Instant);

impl Clock {
    fn tell(&self, what: &str) {
        println!("{:4} s: {what}", self.0.elapsed().as_secs());
    }
}

pub(crate) fn make(lab: &Lab, topology: &str) {
    let timings = lab.path("timings.json");
    let ran = lab.provision(&["apply", topology, "--timings", timings.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    println!("timings: {}", std::fs::read_to_string(timings).unwrap());
}

pub(crate) fn nothing_is_left_to_do(lab: &Lab, topology: &str) {
    let ran = lab.provision(&["apply", topology]);
    assert_eq!(
        (ran.code, ran.stdout.contains("no change")),
        (0, true),
        "the second of two runs changes something: {ran:?}"
    );
}

/// All machines are turned off and on again: every node comes back, and so does what ran on them.
fn it_starts_from_cold(lab: &Lab, cluster: &str, topology: &str) {
    let ran = lab.provision(&["stop", cluster]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = lab.provision(&["start", cluster]);
    assert_eq!(ran.code, 0, "{ran:?}");
    lab.eventually(PATIENCE, &["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=10s"], |ran| {
        ran.code == 0
    });
    lab.eventually(PATIENCE, &["rollout", "status", "deployment/web", "--timeout=10s"], |ran| ran.code == 0);
    nothing_is_left_to_do(lab, topology);
}

pub(crate) fn every_node_is_ready(lab: &Lab, topology: &str) {
    let asked = topology::Topology::parse("topology.yaml", topology).unwrap();
    let nodes = asked.machines().into_iter().filter(|machine| machine.role.is_node()).count();
    let ready = "jsonpath={range .items[*]}{.status.conditions[?(@.type=='Ready')].status}{end}";
    assert_eq!(lab.kubectl(&["get", "nodes", "-o", ready]), "True".repeat(nodes));
}

fn a_workload_answers_on_every_node(lab: &Lab, cluster: &str) {
    let archive = lab.write("busybox.tar", &busybox_archive().unwrap()).display().to_string();
    assert_eq!(lab.provision(&["image", "load", cluster, &archive]).code, 0);
    let web = lab.write("web.yaml", WEB.as_bytes()).display().to_string();
    lab.kubectl(&["apply", "-f", &web]);
    lab.kubectl(&["rollout", "status", "deployment/web", "--timeout=480s"]);
    let addresses = node_addresses(lab);
    let namespace = namespace(lab);
    let answers = std::thread::spawn(move || {
        enter(&namespace);
        addresses.into_iter().map(|address| (address, fetch(address))).collect::<Vec<_>>()
    });
    for (address, answer) in answers.join().unwrap() {
        assert!(answer.as_deref().is_ok_and(|text| text.contains("web-")), "{address}: {answer:?}");
    }
}

/// Two workers become three and then one, while somebody keeps asking the node that stays.
fn workers_come_and_go_under_load(lab: &Lab, cluster: &str) {
    let staying = node_addresses(lab)[0];
    let load = Load::start(namespace(lab), staying);
    for workers in ["3", "1"] {
        let ran = lab.provision(&["scale", cluster, "--workers", workers, "--yes"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        // A worker that has just come has no image yet; pods wait for it elsewhere.
        if workers == "3" {
            let (archive, new) = (lab.path("busybox.tar").display().to_string(), format!("{cluster}-worker-3"));
            assert_eq!(lab.provision(&["image", "load", cluster, &archive, "--node", &new]).code, 0);
        }
    }
    lab.eventually(PATIENCE, &["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"], |ran| {
        ran.stdout == "3"
    });
    let nodes = lab.kubectl(&["get", "nodes", "-l", "provision.dev/pool=worker", "-o", "name"]);
    assert_eq!(nodes.trim(), format!("node/{cluster}-worker-1"));
    let (requests, failures) = load.end();
    println!("{requests} requests while workers came and went");
    assert!(requests > 20 && failures.is_empty(), "{} of {requests} requests failed: {failures:?}", failures.len());
}

/// The control plane first: it stays whatever happens to workers.
fn node_addresses(lab: &Lab) -> Vec<SocketAddr> {
    let addresses = "jsonpath={range .items[*]}{.status.addresses[?(@.type=='InternalIP')].address}{'\\n'}{end}";
    let text = lab.kubectl(&["get", "nodes", "-o", addresses]);
    text.lines().map(|address| SocketAddr::new(address.parse().unwrap(), NODE_PORT)).collect()
}

fn fetch(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Somebody who asks ten times a second.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    asking: JoinHandle<(usize, Vec<String>)>,
}

impl Load {
    pub(crate) fn start(namespace: File, address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let asking = std::thread::spawn(move || {
            enter(&namespace);
            let (mut requests, mut failures) = (0, Vec::new());
            while !told.load(Ordering::Relaxed) {
                requests += 1;
                match fetch(address) {
                    Ok(answer) if answer.contains("web-") => {}
                    other => failures.push(format!("request {requests}: {other:?}")),
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            (requests, failures)
        });
        Self { over, asking }
    }

    pub(crate) fn end(self) -> (usize, Vec<String>) {
        self.over.store(true, Ordering::Relaxed);
        self.asking.join().unwrap()
    }
}
