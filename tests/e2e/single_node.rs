//! The life of a single node, from nothing to nothing, as its user meets it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use harness::{Lab, Ran, busybox_archive, skip_reason};
use nix::sys::signal::Signal;

use crate::traces::{destroy_leaves_nothing, end_run_at, nobody_is_forbidden, only_what_belongs_to_machines_is_kept};

const NAME: &str = "e2e-single";
const NODE: &str = "e2e-single-control-plane-1";
/// An emulated machine on a busy host is several times slower than a real one.
const PATIENCE: Duration = Duration::from_mins(4);
const TOPOLOGY: &str = "apiVersion: provision.dev/v1alpha1
kind: Cluster
metadata: {name: e2e-single}
spec:
  infrastructure: {libvirt: {uri: embedded}}
  controlPlane: {machine: {cpus: 2, memory: 2Gi}}
";
const MILESTONES: [&str; 10] =
    ["image", "boot", "ssh", "copy", "pki", "etcdLeader", "apiReady", "nodeReady", "firstPodRunning", "dnsAnswers"];
const STATEFUL_SET: &str = "apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: db, image: 'busybox:test', command: [sleep, '3600']}]
";

#[test]
fn a_single_node_lives_from_nothing_to_nothing() {
    if let Some(reason) = skip_reason() {
        println!("skipped: {reason}");
        return;
    }
    let lab = Lab::new(NAME);
    let topology = lab.write("topology.yaml", TOPOLOGY.as_bytes()).display().to_string();
    a_taken_port_is_named_and_the_next_run_goes_on(&lab, &topology);
    runs_killed_at_a_step_are_finished_by_the_next(&lab, &topology);
    the_machine_started_with_the_components_in_place(&lab);
    the_node_describes_itself_as_people_expect(&lab);
    programs_are_told_how_the_cluster_is(&lab);
    a_second_run_reports_no_change_and_writes_nothing(&lab, &topology);
    a_workload_lives_through_the_usual_commands(&lab);
    jobs_end_and_stateful_sets_keep_their_names(&lab);
    a_namespace_leaves_nothing_behind(&lab);
    nobody_is_forbidden(&lab);
    a_changed_host_key_is_refused(&lab, &topology);
    only_what_belongs_to_machines_is_kept(&lab);
    destroy_leaves_nothing(&lab, NAME);
}

/// The port for the API was given to the cluster once and is now held by somebody else.
fn a_taken_port_is_named_and_the_next_run_goes_on(lab: &Lab, topology: &str) {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let allocations = serde_json::json!({
        "format": 2, "founders": [], "founded": false, "name": NAME, "id": "6f0d2b4e-2a68-4a0e-9f0b-3f1c5a7d9e11", "libvirt": "embedded", "apiPort": port,
        "network": {"name": "e2e-single-6f0d2b4e", "bridge": "pv-6f0d2b4e", "subnet": "10.87.0.0/24"}, "machines": {},
    });
    std::fs::create_dir_all(lab.state()).unwrap();
    std::fs::write(lab.state().join("cluster.json"), allocations.to_string()).unwrap();
    std::fs::write(lab.state().join("topology.yaml"), TOPOLOGY).unwrap();
    let ran = lab.provision(&["apply", topology]);
    assert_eq!((ran.code, ran.stderr.contains(&format!("127.0.0.1:{port}"))), (4, true), "{ran:?}");
    assert!(ran.stderr.contains("hint: end the program that uses the port"), "{ran:?}");
}

/// Interrupts one run when the machine is made and kills one when components are installed; the third makes the cluster.
fn runs_killed_at_a_step_are_finished_by_the_next(lab: &Lab, topology: &str) {
    for (step, signal) in [("create-machine", Signal::SIGINT), ("install-components", Signal::SIGKILL)] {
        let code = end_run_at(lab, &["apply", topology], &format!("\"{step}/{NODE}\""), signal);
        assert_eq!(code, (signal == Signal::SIGINT).then_some(130), "Ctrl-C has an exit code of its own");
    }
    let timings = lab.path("timings.json");
    let ran = lab.provision(&["apply", topology, "--timings", timings.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}{}", ran.stderr, diagnosis(lab));
    assert!(ran.stdout.contains("Cluster e2e-single is ready."), "{ran:?}");
    let timings: serde_json::Value = serde_json::from_slice(&std::fs::read(timings).unwrap()).unwrap();
    println!("timings: {timings}");
    // What an earlier run has reached counts from when this one has found it.
    for milestone in MILESTONES {
        assert!(timings["milestones"][milestone].is_number(), "{milestone} is not in {timings}");
    }
}

/// Its disk lies over one with the components, nobody has brought it any, and its runtime knows all images.
fn the_machine_started_with_the_components_in_place(lab: &Lab) {
    let disk = lab.state().join(format!("disks/{NODE}.qcow2"));
    let look = Command::new("qemu-img").args(["info", "--force-share", "--output=json"]).arg(disk).output().unwrap();
    let look: serde_json::Value = serde_json::from_slice(&look.stdout).unwrap();
    let below = look["backing-filename"].as_str().unwrap();
    assert!(below.contains("/components-"), "{below}");
    // The program is one file with what containers run; one that came over SSH has one name.
    let links = lab.provision(&["ssh", NAME, "--", "stat -c %h /usr/local/lib/provision/hyperkube"]);
    assert_eq!(links.stdout.trim(), "2", "{links:?}");
    let images = lab.provision(&["ssh", NAME, "--", "ctr -n k8s.io images ls -q"]).stdout;
    let known = lab.kubectl(&["get", "node", NODE, "-o", "jsonpath={.status.images[*].names[*]}"]);
    for name in ["pause:1", "etcd:", "kube-apiserver:", "kube-controller-manager:", "kube-scheduler:", "kube-proxy:"] {
        let name = format!("provision.local/{name}");
        assert!(images.contains(&name) && known.contains(&name), "{name} is not in {images} or {known}");
    }
}

/// What `status`, `list` and `console` say of a cluster that runs, and what a command there ends with.
fn programs_are_told_how_the_cluster_is(lab: &Lab) {
    let json = |args: &[&str]| -> serde_json::Value {
        let ran = lab.provision(args);
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let status = json(&["status", NAME, "--output", "json"]);
    assert_eq!((&status["state"], &status["problems"]), (&"running".into(), &serde_json::json!([])), "{status}");
    assert_eq!(status["unseen"], serde_json::json!([]), "{status}");
    let machine = &status["machines"][0];
    assert_eq!(
        (&machine["name"], &machine["power"], &machine["ssh"]),
        (&NODE.into(), &"on".into(), &"reachable".into())
    );
    assert_eq!((&machine["node"]["ready"], &status["api"]["ready"]), (&true.into(), &true.into()), "{status}");
    let components: Vec<&str> =
        machine["components"].as_array().unwrap().iter().filter_map(|component| component["name"].as_str()).collect();
    for name in ["kubelet", "containerd", "etcd", "kube-apiserver", "kube-scheduler", "kube-proxy"] {
        assert!(components.iter().any(|there| there.starts_with(name)), "{name} is not in {components:?}");
    }
    assert_eq!(status["etcd"].as_array().map(Vec::len), Some(1), "{status}");
    assert!(!status["certificates"].as_array().unwrap().is_empty(), "{status}");

    let list = json(&["list", "--output", "json"]);
    assert_eq!(
        (&list[0]["name"], &list[0]["state"], &list[0]["machines"]),
        (&NAME.into(), &"running".into(), &1.into())
    );
    let console = lab.provision(&["console", NAME]);
    assert_eq!((console.code, console.stdout.contains("ssh-ed25519 ")), (0, true), "it says who it is: {console:?}");
    assert_eq!(lab.provision(&["ssh", NAME, "--", "exit 42"]).code, 42);
}

fn the_node_describes_itself_as_people_expect(lab: &Lab) {
    let nodes = lab.kubectl(&["get", "nodes"]);
    let row: Vec<&str> = nodes.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[0], row[1], row[2]), (NODE, "Ready", "control-plane"), "{nodes}");
    assert!(row[4].starts_with("v1.35.0"), "{nodes}");

    let text = lab.kubectl(&["describe", "node", NODE]);
    for field in
        ["Machine ID:", "System UUID:", "Boot ID:", "Kernel Version:", "Container Runtime Version:", "Kubelet Version:"]
    {
        let line = text.lines().find(|line| line.trim_start().starts_with(field));
        let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
        assert!(value.is_some_and(|value| !value.is_empty()), "{field} is not in {text}");
    }
    assert!(text.contains("Debian GNU/Linux 13"), "{text}");
    assert!(text.contains("containerd://1.7"), "{text}");
    let (_, pods) = text.split_once("Non-terminated Pods:").expect("pods are listed");
    for (pod, cpu) in [
        ("etcd-", "100m"),
        ("kube-apiserver-", "250m"),
        ("kube-controller-manager-", "200m"),
        ("kube-scheduler-", "100m"),
        ("kube-proxy-", "0"),
    ] {
        let row = pods.lines().find(|line| line.split_whitespace().nth(1).is_some_and(|name| name.starts_with(pod)));
        let row: Vec<&str> = row.unwrap_or_else(|| panic!("no {pod} in {text}")).split_whitespace().collect();
        assert_eq!((row[0], row[2]), ("kube-system", cpu), "{text}");
    }
}

/// Everything below a directory with its modification time.
fn tree(dir: &Path, seen: &mut Vec<(String, SystemTime)>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        // The machine itself goes on writing to its disk and console, its daemon to its own files; the lock says who runs.
        if ["disks", "console", "embedded", "lock"].iter().any(|name| path.ends_with(name)) {
            continue;
        }
        seen.push((path.display().to_string(), entry.metadata().unwrap().modified().unwrap()));
        if path.is_dir() {
            tree(&path, seen);
        }
    }
}

fn a_second_run_reports_no_change_and_writes_nothing(lab: &Lab, topology: &str) {
    let look = || {
        let marks =
            "stat -c '%n %y' /var/lib/provision/* /etc/kubernetes/* /etc/kubernetes/pki/* /etc/kubernetes/manifests/*";
        let on_the_host = lab.provision(&["ssh", NAME, "--", marks]).stdout;
        let mut seen = Vec::new();
        tree(&lab.state(), &mut seen);
        seen.sort();
        (seen, on_the_host)
    };
    let before = look();
    assert!(before.1.contains("/etc/kubernetes/manifests/etcd.yaml"), "{}", before.1);
    let ran = lab.provision(&["apply", topology]);
    assert_eq!((ran.code, ran.stdout.contains("no change")), (0, true), "{ran:?}");
    assert_eq!(look(), before);
    assert_eq!(lab.provision(&["plan", topology]).code, 0);
}

fn a_workload_lives_through_the_usual_commands(lab: &Lab) {
    let archive = lab.write("busybox.tar", &busybox_archive().unwrap()).display().to_string();
    assert_eq!(lab.provision(&["image", "load", NAME, &archive]).code, 0);
    let serve = "mkdir -p /www && hostname > /www/index.html && echo serving && exec httpd -f -v -p 8080 -h /www";
    lab.kubectl(&["create", "deployment", "web", "--image=busybox:test", "--replicas=2", "--", "sh", "-c", serve]);
    lab.kubectl(&["rollout", "status", "deployment/web", "--timeout=240s"]);
    lab.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=8080"]);
    lab.kubectl(&["scale", "deployment", "web", "--replicas=3"]);
    lab.eventually(PATIENCE, &["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"], |ran| {
        ran.stdout == "3"
    });
    lab.eventually(PATIENCE, &["logs", "deployment/web"], |ran| ran.stdout.contains("serving"));
    let said = lab.kubectl(&["exec", "deployment/web", "--", "sh", "-c", "echo from inside; cat /etc/resolv.conf"]);
    assert!(said.contains("from inside") && said.contains("nameserver 10.96.0.10"), "{said}");

    let request = r"printf 'GET / HTTP/1.0\r\n\r\n' | timeout 10 nc web.default.svc.cluster.local 80";
    let fetch = ["exec", "deployment/web", "--", "sh", "-c", request];
    let answer = lab.eventually(PATIENCE, &fetch, |ran| ran.code == 0 && ran.stdout.starts_with("HTTP/1."));
    assert!(answer.stdout.contains("web-"), "the Service's name leads to a pod: {answer:?}");
    port_forward(lab);

    lab.kubectl(&["set", "env", "deployment/web", "COLOUR=green"]);
    lab.kubectl(&["rollout", "status", "deployment/web", "--timeout=240s"]);
    lab.kubectl(&["delete", "deployment,service", "web"]);
    lab.eventually(PATIENCE, &["get", "pods", "-l", "app=web", "-o", "name"], |ran| {
        ran.code == 0 && ran.stdout.is_empty()
    });
}

/// A job that ends, one made from a cron job, and a set whose second member is asked for by its own name.
fn jobs_end_and_stateful_sets_keep_their_names(lab: &Lab) {
    lab.kubectl(&["create", "job", "once", "--image=busybox:test", "--", "echo", "done"]);
    lab.kubectl(&["create", "cronjob", "yearly", "--image=busybox:test", "--schedule=0 0 1 1 *", "--", "echo", "now"]);
    lab.kubectl(&["create", "job", "now", "--from=cronjob/yearly"]);
    let file = lab.write("set.yaml", STATEFUL_SET.as_bytes()).display().to_string();
    lab.kubectl(&["apply", "-f", &file]);
    lab.kubectl(&["rollout", "status", "statefulset/db", "--timeout=240s"]);
    lab.kubectl(&["wait", "--for=condition=complete", "job/once", "job/now", "--timeout=240s"]);
    assert_eq!(lab.kubectl(&["logs", "job/once"]), "done\n");
    assert_eq!(lab.kubectl(&["logs", "job/now"]), "now\n");
    assert_eq!(lab.kubectl(&["get", "pods", "-l", "app=db", "-o", "name"]), "pod/db-0\npod/db-1\n");
    let resolve = ["exec", "db-0", "--", "nslookup", "db-1.db.default.svc.cluster.local"];
    let address = lab.kubectl(&["get", "pod", "db-1", "-o", "jsonpath={.status.podIP}"]);
    lab.eventually(PATIENCE, &resolve, |ran| ran.code == 0 && ran.stdout.contains(&address));
    lab.kubectl(&["delete", "-f", &file, "--timeout=240s"]);
    // What the cron job owns goes with it.
    lab.kubectl(&["delete", "cronjob/yearly", "job/once", "--timeout=240s"]);
    lab.eventually(PATIENCE, &["get", "jobs,pods", "-o", "name"], |ran| ran.code == 0 && ran.stdout.is_empty());
}

fn port_forward(lab: &Lab) {
    let mut forward =
        lab.kubectl_command(&["port-forward", "deployment/web", ":8080"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // Kept open: kubectl says something for each connection, and would end if nobody could hear it.
    let mut said = BufReader::new(forward.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let port =
        line.split_once("127.0.0.1:").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or_else(|| panic!("{line}"));
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // The end of the connection may come as a reset once the server has closed its side.
    while !String::from_utf8_lossy(&answer).contains("web-") {
        match stream.read(&mut buffer) {
            Ok(length) if length > 0 => answer.extend_from_slice(&buffer[..length]),
            _ => break,
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    forward.kill().unwrap();
    forward.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.") && answer.contains("web-"), "{answer}");
}

fn a_namespace_leaves_nothing_behind(lab: &Lab) {
    let objects = "apiVersion: v1\nkind: Namespace\nmetadata: {name: short}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: short}\ndata: {a: b}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, namespace: short}\nspec:\n  replicas: 1\n  selector: {matchLabels: {a: d}}\n  template:\n    metadata: {labels: {a: d}}\n    spec:\n      terminationGracePeriodSeconds: 1\n      containers: [{name: c, image: 'busybox:test', command: [sleep, '3600']}]\n";
    let file = lab.write("short.yaml", objects.as_bytes()).display().to_string();
    lab.kubectl(&["apply", "-f", &file]);
    lab.kubectl(&["-n", "short", "rollout", "status", "deployment/d", "--timeout=240s"]);
    assert!(lab.kubectl(&["apply", "-f", &file]).contains("configmap/c unchanged"));
    lab.kubectl(&["delete", "-f", &file, "--timeout=240s"]);
    let gone = |ran: &Ran| ran.code != 0 && ran.stderr.contains("NotFound");
    lab.eventually(PATIENCE, &["get", "namespace", "short"], gone);
    for kind in ["pods", "replicasets", "deployments", "configmaps", "serviceaccounts"] {
        let left = lab.kubectl(&["get", kind, "-n", "short", "-o", "name"]);
        assert_eq!(left, "", "{kind} are left");
    }
}

/// With another key on record than the machine shows, nothing is sent to it.
fn a_changed_host_key_is_refused(lab: &Lab, topology: &str) {
    let path = lab.state().join("cluster.json");
    let right = std::fs::read_to_string(&path).unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&right).unwrap();
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    state["machines"][NODE]["hostKey"] = other.into();
    std::fs::write(&path, state.to_string()).unwrap();
    let ran = lab.provision(&["apply", topology]);
    std::fs::write(&path, right).unwrap();
    assert_eq!((ran.code, ran.stderr.contains("shows the SSH host key")), (5, true), "{ran:?}");
}

/// What a person would look at first.
fn diagnosis(lab: &Lab) -> String {
    let look = "journalctl -u kubelet --no-pager -n 60; crictl ps -a 2>/dev/null; ctr -n k8s.io containers ls; tail -n 20 /var/log/pods/*/*/*.log";
    let host = lab.provision(&["ssh", NAME, "--", look]);
    let pods = lab.try_kubectl(&["get", "pods,nodes", "-A", "-o", "wide"]);
    let events = lab.try_kubectl(&["get", "events", "-A"]);
    format!("\n--- host\n{}\n--- pods\n{}{}\n--- events\n{}", host.stdout, pods.stdout, pods.stderr, events.stdout)
}
