//! kube-rs: typed objects, its watcher, server-side apply, and requests that only a typed client makes.

use futures::{StreamExt as _, TryStreamExt as _};
use harness::ApiServer;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::DynamicObject;
use kube::discovery::{Discovery, verbs};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::{examples, server};

async fn client(server: &ApiServer) -> Client {
    let text = std::fs::read_to_string(server.kubeconfig()).unwrap();
    let config = Kubeconfig::from_yaml(&text).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

fn typed<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn typed_objects_live_their_life() {
    let server = server().await;
    let client = client(&server).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let map: ConfigMap = typed(json!({"metadata": {"generateName": "m-"}, "data": {"a": "1"}}));
    let made = maps.create(&PostParams::default(), &map).await.unwrap();
    let name = made.metadata.name.clone().unwrap();
    let mut change = made.clone();
    change.data.as_mut().unwrap().insert("b".to_owned(), "2".to_owned());
    let changed = maps.replace(&name, &PostParams::default(), &change).await.unwrap();
    assert_ne!(changed.metadata.resource_version, made.metadata.resource_version);
    let error = maps.replace(&name, &PostParams::default(), &change).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.is_conflict()), "{error}");
    let apply = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"c": "3"}});
    let applied = maps.patch(&name, &PatchParams::apply("kube-rs"), &Patch::Apply(apply)).await.unwrap();
    assert_eq!(applied.data.unwrap().len(), 3);
    let metadata = maps.get_metadata(&name).await.unwrap();
    assert_eq!(metadata.metadata.name, Some(name.clone()));
    assert_eq!(maps.list_metadata(&ListParams::default()).await.unwrap().items.len(), 1);
    let gone = maps.delete(&name, &DeleteParams::foreground()).await.unwrap();
    assert!(gone.left().is_some(), "its dependents go first, so it stays a moment");
    assert!(maps.get_opt("missing").await.unwrap().is_none());
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client);
    let request = typed(json!({"spec": {"audiences": [], "expirationSeconds": 600}}));
    let token = accounts.create_token_request("default", &PostParams::default(), &request).await.unwrap();
    assert!(token.status.unwrap().token.contains('.'));
}

#[tokio::test]
async fn subresources_are_reached_by_typed_calls() {
    let server = server().await;
    let client = client(&server).await;
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let deployment: Deployment = typed(examples::of("Deployment").object);
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    let scale = json!({"spec": {"replicas": 4}});
    let scaled = deployments.patch_scale("example", &PatchParams::default(), &Patch::Merge(scale)).await.unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(4));
    let status = json!({"status": {"readyReplicas": 2}});
    let told = deployments.patch_status("example", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    assert_eq!(told.status.unwrap().ready_replicas, Some(2));
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.create(&PostParams::default(), &typed(examples::of("Node").object)).await.unwrap();
    assert_eq!(nodes.cordon("example").await.unwrap().spec.unwrap().unschedulable, Some(true));
    let pods: Api<Pod> = Api::default_namespaced(client);
    pods.create(&PostParams::default(), &typed(examples::of("Pod").object)).await.unwrap();
    let debugger = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox:1"}]}});
    let patched =
        pods.patch_ephemeral_containers("example", &PatchParams::default(), &Patch::Strategic(debugger)).await;
    assert_eq!(patched.unwrap().spec.unwrap().ephemeral_containers.unwrap().len(), 1);
    pods.evict("example", &Default::default()).await.unwrap();
    assert!(pods.get_opt("example").await.unwrap().is_none());
}

#[tokio::test]
async fn its_watcher_sees_everything_in_both_ways_of_beginning() {
    let server = server().await;
    let client = client(&server).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let map = |name: &str| typed::<ConfigMap>(json!({"metadata": {"name": name}}));
    for index in 0..5 {
        maps.create(&PostParams::default(), &map(&format!("m{index}"))).await.unwrap();
    }
    for config in [watcher::Config::default().page_size(2), watcher::Config::default().streaming_lists()] {
        let mut events = Box::pin(watcher::watcher(maps.clone(), config));
        let mut seen = 0;
        loop {
            match events.try_next().await.unwrap().unwrap() {
                Event::InitApply(_) => seen += 1,
                Event::InitDone => break,
                _ => {}
            }
        }
        assert_eq!(seen, 5);
        maps.create(&PostParams::default(), &map("late")).await.unwrap();
        assert!(
            matches!(events.try_next().await.unwrap(), Some(Event::Apply(map)) if map.metadata.name.as_deref() == Some("late"))
        );
        maps.delete("late", &DeleteParams::default()).await.unwrap();
        assert!(matches!(events.try_next().await.unwrap(), Some(Event::Delete(_))));
    }
    let mut raw = Box::pin(maps.watch(&WatchParams::default().timeout(30), "0").await.unwrap());
    assert!(matches!(raw.next().await, Some(Ok(WatchEvent::Added(_)))));
}

#[tokio::test]
async fn its_discovery_and_dynamic_objects_reach_every_kind() {
    let server = server().await;
    let client = client(&server).await;
    let discovery = Discovery::new(client.clone()).run().await.unwrap();
    let mut listed = 0;
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if capabilities.supports_operation(verbs::LIST) {
                let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
                all.list(&ListParams::default().limit(5)).await.unwrap();
                listed += 1;
            }
        }
    }
    let stored = api::resources().iter().filter(|row| row.is_stored()).count();
    assert!(listed >= stored, "{listed} of {stored}");
}
