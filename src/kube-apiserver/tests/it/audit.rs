//! The audit log of a running server.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Server, core};

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, nonResourceURLs: ['/readyz*', '/livez*']}
- {level: Metadata, resources: [{resources: [secrets]}]}
- {level: RequestResponse, resources: [{resources: [configmaps]}], omitManagedFields: true}
- {level: Metadata, users: [kubernetes-admin, mallory]}
";

fn events(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The first event that is as wanted, soon.
async fn event(log: &Path, wanted: impl Fn(&Value) -> bool) -> Value {
    let found = async {
        loop {
            if let Some(event) = events(log).into_iter().find(&wanted) {
                return event;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{:#?}", events(log)))
}

#[tokio::test]
async fn requests_are_told_as_closely_as_the_policy_says() {
    let folder = tempfile::tempdir().unwrap();
    let (policy, log) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
    std::fs::write(&policy, POLICY).unwrap();
    let flags = [format!("--audit-policy-file={}", policy.display()), format!("--audit-log-path={}", log.display())];
    let mut server = Server::start_with(&flags.each_ref().map(String::as_str)).await;
    let admin = server.admin();
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "hunter2hunter2"}});
    admin.create(&core("secrets"), secret).await.ok();
    let told = event(&log, |event| event["objectRef"]["resource"] == "secrets").await;
    assert_eq!(told["objectRef"]["name"], "s", "{told}");
    assert_eq!((&told["level"], &told["stage"]), (&json!("Metadata"), &json!("ResponseComplete")));
    assert_eq!((&told["verb"], &told["responseStatus"]["code"]), (&json!("create"), &json!(201)));
    assert_eq!(told["user"]["username"], "kubernetes-admin");
    assert_eq!(told["sourceIPs"], json!(["127.0.0.1"]));
    assert_eq!(told["annotations"]["authorization.k8s.io/decision"], "allow");
    assert!(told.get("requestObject").is_none() && told.get("responseObject").is_none());

    let config = json!({"metadata": {"name": "c"}, "data": {"a": "b"}});
    let answer = admin.create(&core("configmaps"), config).await;
    let id = answer.headers["audit-id"].to_str().unwrap().to_owned();
    let told = event(&log, |event| event["auditID"] == id.as_str()).await;
    assert_eq!(told["requestObject"]["data"], json!({"a": "b"}));
    assert_eq!(told["responseObject"]["data"], json!({"a": "b"}));
    assert!(told["responseObject"]["metadata"].get("managedFields").is_none(), "{told}");

    let mallory = server.user("mallory", &[]);
    mallory.get("/api/v1/nodes").await.failed(403);
    let told = event(&log, |event| event["user"]["username"] == "mallory").await;
    assert_eq!(told["responseStatus"]["reason"], "Forbidden");
    assert_eq!(told["annotations"]["authorization.k8s.io/decision"], "forbid");

    let watch = admin.get(&core("pods?watch=1&timeoutSeconds=1")).await;
    assert_eq!(watch.code, 200);
    for stage in ["ResponseStarted", "ResponseComplete"] {
        event(&log, |event| event["verb"] == "watch" && event["stage"] == stage).await;
    }
    // Nobody else is told of, and nothing of the secret is anywhere.
    let scheduler = server.user("system:kube-scheduler", &[]);
    scheduler.get("/api/v1/nodes").await.ok();
    server.stop().await;
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(
        !text.contains("hunter2") && !text.contains("aHVudGVyMmh1bnRlcjI=") && !text.contains("system:kube-scheduler")
    );
}

#[tokio::test]
async fn events_that_are_too_large_go_without_bodies_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (policy, log) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
    std::fs::write(&policy, POLICY).unwrap();
    let flags = [
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log.display()),
        "--audit-log-truncate-enabled".to_owned(),
        "--audit-log-truncate-max-event-size=3000".to_owned(),
        "--audit-log-batch-max-size=1".to_owned(),
    ];
    let server = Server::start_with(&flags.each_ref().map(String::as_str)).await;
    let admin = server.admin();
    let config = |name: &str, size: usize| json!({"metadata": {"name": name}, "data": {"a": "b".repeat(size)}});
    // Told of first, and lost.
    admin.get(&core(&format!("configmaps?labelSelector=a%3D{}", "b".repeat(4000)))).await;
    admin.create(&core("configmaps"), config("large", 4000)).await.ok();
    admin.create(&core("configmaps"), config("small", 4)).await.ok();
    let small = event(&log, |event| event["objectRef"]["name"] == "small").await;
    assert_eq!(small["requestObject"]["data"], json!({"a": "bbbb"}));
    assert!(small["annotations"].get("audit.k8s.io/truncated").is_none(), "{small}");
    let large = event(&log, |event| event["objectRef"]["name"] == "large").await;
    assert!(large.get("requestObject").is_none() && large.get("responseObject").is_none(), "{large}");
    assert_eq!(large["annotations"]["audit.k8s.io/truncated"], "true");
    assert_eq!(large["responseStatus"]["code"], 201);
    assert!(
        !events(&log).iter().any(|event| event["verb"] == "list" && event["objectRef"]["resource"] == "configmaps")
    );
    let metrics = admin.get("/metrics").await.body;
    assert!(metrics.as_str().unwrap().contains("\napiserver_audit_error_total 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_log_that_is_stuck_costs_events_beyond_the_buffer_and_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let (policy, log) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
    std::fs::write(&policy, POLICY).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&log).status().unwrap().success());
    // A pipe that nobody empties; open both ways, so that nobody waits for the other end.
    let pipe = std::fs::OpenOptions::new().read(true).write(true).open(&log).unwrap();
    let flags = [
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log.display()),
        "--audit-log-batch-buffer-size=2".to_owned(),
    ];
    let mut server = Server::start_with(&flags.each_ref().map(String::as_str)).await;
    let admin = server.admin();
    let large = json!({"metadata": {"name": "large"}, "data": {"a": "b".repeat(30_000)}});
    admin.create(&core("configmaps"), large).await.ok();
    let mut lost = false;
    // Three of them fill a pipe; ten thousand would fit into the usual buffer.
    for _ in 0..100 {
        admin.get(&core("configmaps/large")).await.ok();
        let metrics = admin.get("/metrics").await.body;
        let told = metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix("apiserver_audit_error_total "));
        lost = told.is_some_and(|count| count != "0");
        if lost {
            break;
        }
    }
    assert!(lost, "the buffer takes more than the flag says");
    // Whoever writes is told that nobody reads any more, and can end.
    drop(pipe);
    server.stop().await;
}
