//! The end of a server: it says so, goes on for a while, then lets go of everybody in order.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Server, core};
use crate::several::endpoints_become;
use crate::watches::Watch;

#[tokio::test]
async fn a_server_that_is_to_end_says_so_and_serves_until_its_delay_is_over() {
    let server = Server::start_with(&["--shutdown-delay-duration=1h"]).await;
    let admin = server.admin();
    endpoints_become(&admin, &["192.0.2.10"]).await;
    let mut watch = Watch::open(&admin, &core("configmaps?watch=1")).await;
    server.ask_to_stop();
    server.wait_until_ready(false).await;
    let said = admin.request(Method::GET, "/readyz?verbose").send().await.unwrap().text().await.unwrap();
    assert!(said.contains("[-]shutdown failed"), "{said}");
    assert_eq!(admin.get("/livez").await.code, 200, "nobody should restart it");
    // Clients inside the cluster are sent elsewhere, those who come all the same are served.
    endpoints_become(&admin, &[]).await;
    server.admin().create(&core("configmaps"), json!({"metadata": {"name": "late"}})).await.ok();
    watch.expect("ADDED", "late").await;
}

#[tokio::test]
async fn a_server_that_ends_lets_go_of_watchers_without_waiting_for_them() {
    let mut server = Server::start().await;
    let admin = server.admin();
    let mut watches = Vec::new();
    for path in ["configmaps?watch=1", "pods?watch=1&allowWatchBookmarks=true", "secrets?watch=1&timeoutSeconds=3000"] {
        watches.push(Watch::open(&admin, &core(path)).await);
    }
    server.stop().await;
    for mut watch in watches {
        assert!(watch.next().await.is_none());
    }
    assert!(admin.request(Method::GET, "/livez").send().await.is_err(), "nobody is there any more");
}
