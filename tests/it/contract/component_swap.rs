//! One module swapped: upstream's own scheduler and controller manager work against our API server, unmodified and in
//! protobuf, as they always speak.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use harness::{ApiServer, core};
use serde_json::{Value, json};

use crate::{examples, server};

#[expect(clippy::disallowed_methods, reason = "the tests are told by their caller where upstream's programs are")]
fn peer(name: &str) -> Option<PathBuf> {
    let path = std::env::var(name).ok().map(PathBuf::from).filter(|path| path.exists());
    if path.is_none() {
        println!("skipped: {name} does not name a program of upstream");
    }
    path
}

/// A program that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Shows what the peers said when a test fails.
struct Logs<'s>(&'s ApiServer);

impl Drop for Logs<'_> {
    fn drop(&mut self) {
        for user in ["kube-scheduler", "kube-controller-manager"].iter().filter(|_| std::thread::panicking()) {
            let log = std::fs::read_to_string(self.0.path(&format!("{user}.log"))).unwrap_or_default();
            log.lines().rev().take(8).for_each(|line| println!("{user}: {line}"));
        }
    }
}

fn start(server: &ApiServer, program: &PathBuf, user: &str, more: &[String]) -> Running {
    let config = server.write(&format!("{user}.conf"), &server.kubeconfig_of(&format!("system:{user}"), &[]));
    let log = std::fs::File::create(server.path(&format!("{user}.log"))).unwrap();
    let child = Command::new(program)
        .arg(format!("--kubeconfig={}", config.display()))
        .args(["--leader-elect=true", "--bind-address=127.0.0.1", "--port=0"])
        .arg(format!("--secure-port={}", storage::testing::free_port()))
        .args(more)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    Running(child)
}

#[tokio::test]
async fn upstreams_scheduler_and_controllers_run_a_deployment() {
    let (Some(scheduler), Some(controllers)) = (peer("PEER_KUBE_SCHEDULER"), peer("PEER_KUBE_CONTROLLER_MANAGER"))
    else {
        return;
    };
    let server = server().await;
    let admin = server.admin();
    let file = |name: &str| server.path(name).display().to_string();
    let flags = [
        format!("--service-account-private-key-file={}", file("sa.key")),
        format!("--root-ca-file={}", file("ca.crt")),
        format!("--cluster-signing-cert-file={}", file("ca.crt")),
        format!("--cluster-signing-key-file={}", file("ca.key")),
        "--use-service-account-credentials=true".to_owned(),
    ];
    let _controllers = start(&server, &controllers, "kube-controller-manager", &flags);
    // Otherwise 1.20 waits for policy/v1beta1, which no server has had since 1.25.
    let gate = ["--feature-gates=PodDisruptionBudget=false".to_owned()];
    let _scheduler = start(&server, &scheduler, "kube-scheduler", &gate);
    let _logs = Logs(&server);
    admin.create("/api/v1/nodes", &examples::of("Node").object).await.ok();
    let room = json!({"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "10Gi"});
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let status = json!({"status": {"capacity": room, "allocatable": room, "conditions": [
        {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now, "reason": "Test", "message": ""},
    ]}});
    admin.patch("/api/v1/nodes/example/status", "merge", &status).await.ok();
    admin.get_until("/api/v1/nodes/example", |answer| answer.body["spec"]["taints"].is_null()).await;
    let mut deployment = examples::of("Deployment").object;
    deployment["spec"]["replicas"] = 3.into();
    admin.create("/apis/apps/v1/namespaces/default/deployments", &deployment).await.ok();
    let bound = |answer: &harness::Answer| {
        let pods = answer.body["items"].as_array().unwrap();
        pods.len() == 3 && pods.iter().all(|pod| pod["spec"]["nodeName"] == "example")
    };
    let pods = admin.get_until(&core("pods"), bound).await;
    for pod in pods["items"].as_array().unwrap() {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let running = json!({"status": {"phase": "Running", "podIP": "192.0.2.5", "podIPs": [{"ip": "192.0.2.5"}], "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": now}, {"type": "PodScheduled", "status": "True"},
        ]}});
        admin.patch(&core(&format!("pods/{name}/status")), "strategic-merge", &running).await.ok();
    }
    let path = "/apis/apps/v1/namespaces/default/deployments/example";
    let done = |answer: &harness::Answer| answer.body["status"]["readyReplicas"] == 3;
    let deployment: Value = admin.get_until(path, done).await;
    assert_eq!(deployment["status"]["observedGeneration"], deployment["metadata"]["generation"]);
    // What they own goes with what owned it.
    admin.delete(&format!("{path}?propagationPolicy=Background&gracePeriodSeconds=0")).await.ok();
    admin.get_until("/apis/apps/v1/namespaces/default/replicasets", |answer| answer.names().is_empty()).await;
}
