//! What `/metrics` tells under upstream's names, as far as it takes more than one request to make it.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use harness::{ApiServer, Caller, core};
use serde_json::json;

use crate::server;

async fn metrics(caller: &Caller) -> String {
    let told = caller.get("/metrics").await;
    assert_eq!(told.code, 200, "{}", told.body);
    told.body.as_str().unwrap().to_owned()
}

/// The value of the line that begins so.
fn value(metrics: &str, line: &str) -> f64 {
    let found = metrics.lines().find_map(|told| told.strip_prefix(line)).map(str::trim);
    found.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

#[tokio::test]
async fn admission_tells_how_long_it_takes_as_a_whole_and_by_plugin() {
    let server = server().await;
    let admin = server.admin();
    let config = core("configmaps");
    let before = metrics(&admin).await;
    admin.create(&config, &json!({"metadata": {"name": "a"}})).await.ok();
    let missing = config.replace("/default/", "/nowhere/");
    admin.create(&missing, &json!({"metadata": {"name": "a"}})).await.failed(404);
    let after = metrics(&admin).await;
    let grown = |line: &str| value(&after, line) - value(&before, line);
    let step = "apiserver_admission_step_admission_duration_seconds_count";
    for (labels, more) in [
        ("{operation=\"CREATE\",rejected=\"false\",type=\"admit\"}", 1.0),
        ("{operation=\"CREATE\",rejected=\"true\",type=\"admit\"}", 1.0),
        ("{operation=\"CREATE\",rejected=\"false\",type=\"validate\"}", 1.0),
    ] {
        assert!(grown(&format!("{step}{labels}")) >= more, "{labels}: {after}");
    }
    let plugin = "apiserver_admission_controller_admission_duration_seconds_count{name=\"NamespaceLifecycle\"";
    for rejected in ["false", "true"] {
        let line = format!("{plugin},operation=\"CREATE\",rejected=\"{rejected}\",type=\"admit\"}}");
        let line = if after.contains(&line) { line } else { line.replace("admit", "validate") };
        assert!(grown(&line) >= 1.0, "{line}: {after}");
    }
    assert!(after.contains("apiserver_admission_step_admission_duration_seconds_bucket{le=\"0.005\","), "{after}");
}

#[tokio::test]
async fn etcd_tells_how_long_it_takes_by_kind_and_operation() {
    let server = server().await;
    let admin = server.admin();
    let config = core("configmaps");
    for name in ["a", "b"] {
        admin.create(&config, &json!({"metadata": {"name": name}})).await.ok();
    }
    admin.update(&core("configmaps/a"), &json!({"metadata": {"name": "a"}, "data": {"x": "y"}})).await.ok();
    admin.delete(&core("configmaps/a")).await.ok();
    admin.get(&core("configmaps/a")).await.failed(404);
    let told = metrics(&admin).await;
    let count = |operation: &str| {
        let labels = format!("{{group=\"\",operation=\"{operation}\",resource=\"configmaps\"}}");
        value(&told, &format!("etcd_request_duration_seconds_count{labels}"))
    };
    assert!(count("create") >= 2.0, "{told}");
    assert!(count("update") >= 1.0 && count("delete") >= 1.0, "{told}");
    assert!(
        told.contains("etcd_request_duration_seconds_bucket{le=\"0.005\",group=\"\",operation=\"create\","),
        "{told}"
    );
}

#[tokio::test]
async fn client_certificates_tell_how_long_they_still_live() {
    let server = server().await;
    let admin = server.admin();
    let name = "apiserver_client_certificate_expiration_seconds";
    let before = metrics(&admin).await;
    for _ in 0..3 {
        admin.get("/version").await.ok();
    }
    let after = metrics(&admin).await;
    let grown = |line: &str| value(&after, &format!("{name}_{line}")) - value(&before, &format!("{name}_{line}"));
    // Three, and the question itself; certificates of these tests live for a day.
    assert!(grown("count") >= 4.0, "{after}");
    assert!(grown("bucket{le=\"43200.0\"}") < 1.0 && grown("bucket{le=\"86400.0\"}") >= 4.0, "{after}");
    assert!(grown("sum") > 4.0 * 80_000.0, "{after}");
}

#[tokio::test]
async fn requests_that_are_ended_to_protect_the_server_are_counted() {
    let mut server = ApiServer::start_with(crate::PROGRAM, &["--request-timeout=1s"]).await;
    let admin = server.admin();
    server.etcd.pause();
    let told = admin.create(&core("configmaps"), &json!({"metadata": {"name": "a"}})).await;
    assert_eq!(told.code, 504, "{}", told.body);
    let told = metrics(&admin).await;
    server.etcd.resume();
    let labels = "{component=\"apiserver\",group=\"\",resource=\"configmaps\",scope=\"resource\",subresource=\"\",verb=\"POST\",version=\"v1\",code=\"504\"}";
    assert!(told.contains(&format!("apiserver_request_terminations_total{labels} 1\n")), "{told}");
}

#[tokio::test]
async fn requests_for_which_there_is_no_room_are_counted() {
    let flags = ["--enable-priority-and-fairness=false", "--max-mutating-requests-inflight=1"];
    let mut server = ApiServer::start_with(crate::PROGRAM, &flags).await;
    let admin = server.admin();
    server.etcd.pause();
    // One is worked on, eight wait, and one is too much.
    let mut asked = (0..10)
        .map(|number| {
            let admin = admin.clone();
            async move { admin.create(&core("configmaps"), &json!({"metadata": {"name": format!("c{number}")}})).await }
        })
        .collect::<FuturesUnordered<_>>();
    let first = asked.next().await.unwrap();
    let told = metrics(&admin).await;
    server.etcd.resume();
    assert_eq!((first.code, first.header("retry-after")), (429, "1"), "{}", first.body);
    let line = told.lines().find(|line| line.starts_with("apiserver_request_terminations_total{")).unwrap_or_default();
    assert!(line.contains("resource=\"configmaps\"") && line.contains("code=\"429\"} 1"), "{told}");
}
