//! Secrets in etcd: sealed, sealed anew with another key, and readable as an upstream server wrote them.

use serde_json::json;
use storage::Etcd;

use crate::harness::{PATIENCE, Server, core};

const OLD: &str = "aescbc: {keys: [{name: old, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}";
const NEW: &str = "aesgcm: {keys: [{name: new, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}";
const KEY: &str = "/registry/secrets/default/s";

fn rules(providers: &[&str]) -> String {
    let providers: Vec<String> = providers.iter().map(|provider| format!("  - {{{provider}}}\n")).collect();
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
         - resources: [secrets]\n  providers:\n{}",
        providers.concat()
    )
}

async fn raw(etcd: &Etcd, key: &str) -> Vec<u8> {
    etcd.get(key).await.unwrap().0.unwrap().value.to_vec()
}

/// Waits until the object can be read, or no longer can.
async fn until_read(server: &Server, path: &str, code: u16) {
    let admin = server.admin();
    let so = async {
        while admin.get(path).await.code != code {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, so).await.is_ok(), "{:?}", admin.get(path).await);
}

#[tokio::test]
async fn secrets_are_sealed_and_renewed_when_keys_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, rules(&[OLD, "identity: {}"])).unwrap();
    let flag = format!("--encryption-provider-config={}", file.display());
    let server = Server::start_with(&[&flag]).await;
    let (admin, etcd) = (server.admin(), server.etcd().connect().await);
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "hunter2hunter2"}});
    let made = admin.create(&core("secrets"), secret).await.ok();
    admin.create(&core("configmaps"), json!({"metadata": {"name": "c"}, "data": {"a": "plain"}})).await.ok();
    let sealed = raw(&etcd, KEY).await;
    assert!(sealed.starts_with(b"k8s:enc:aescbc:v1:old:") && !sealed.windows(8).any(|part| part == b"password"));
    assert!(raw(&etcd, "/registry/configmaps/default/c").await.starts_with(b"{"));
    assert_eq!(admin.get(&core("secrets/s")).await.ok()["data"], made["data"]);
    let listed = admin.get(&core("secrets?limit=1")).await.ok();
    assert_eq!(listed["items"][0]["data"], made["data"]);
    // A new key is in force without a restart, and the same content written again is sealed with it.
    std::fs::write(&file, rules(&[NEW, OLD])).unwrap();
    let renewed = async {
        loop {
            let current = admin.get(&core("secrets/s")).await.ok();
            admin.update(&core("secrets/s"), &current).await.ok();
            if raw(&etcd, KEY).await.starts_with(b"k8s:enc:aesgcm:v1:new:") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.unwrap();
    // Once renewed, writing the same again writes nothing.
    let current = admin.get(&core("secrets/s")).await.ok();
    let same = admin.update(&core("secrets/s"), &current).await.ok();
    assert_eq!(same["metadata"]["resourceVersion"], current["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn values_of_a_key_that_comes_later_are_read_when_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (mine, other) = (folder.path().join("mine.yaml"), folder.path().join("other.yaml"));
    std::fs::write(&mine, rules(&[OLD])).unwrap();
    std::fs::write(&other, rules(&[NEW, OLD])).unwrap();
    let flag = |file: &std::path::Path| format!("--encryption-provider-config={}", file.display());
    let server = Server::start_with(&[&flag(&mine)]).await;
    let second = server.beside(&["--advertise-address=192.0.2.11", &flag(&other)]).await;
    second.admin().create(&core("secrets"), json!({"metadata": {"name": "s"}})).await.ok();
    // A list with a hole would look like a deletion: it is an error until the key is known.
    until_read(&server, &core("secrets"), 500).await;
    std::fs::write(&mine, rules(&[OLD, NEW])).unwrap();
    until_read(&server, &core("secrets"), 200).await;
    let names = server.admin().get(&core("secrets")).await.ok();
    assert_eq!(names["items"][0]["metadata"]["name"], "s");
}

#[tokio::test]
async fn what_an_upstream_server_stored_as_protobuf_is_read() {
    let server = Server::start().await;
    let (admin, etcd) = (server.admin(), server.etcd().connect().await);
    let made = admin.create(&core("configmaps"), json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await.ok();
    // The stored form of upstream is what it sends to clients that ask for protobuf.
    let request = admin.request(reqwest::Method::GET, &core("configmaps/a"));
    let message = request.header("accept", "application/vnd.kubernetes.protobuf").send().await.unwrap();
    let message = message.bytes().await.unwrap();
    assert!(message.starts_with(b"k8s\0"));
    etcd.create("/registry/configmaps/default/b", message, None).await.unwrap();
    let read = admin.get_soon(&core("configmaps/b")).await;
    assert_eq!(read["data"], made["data"]);
    assert_eq!(read["metadata"]["uid"], made["metadata"]["uid"]);
}
