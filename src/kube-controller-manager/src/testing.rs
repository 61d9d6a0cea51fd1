//! The surroundings of a controller in tests: a server in memory and what follows it.

use std::sync::Arc;

use clap::Parser;
use controller_runtime::Recorder;
use controller_runtime::fake::FakeApi;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::config::{Args, Config};
use crate::kinds::Kinds;
use crate::scope::Scope;
use crate::stores::Stores;

/// Long beside any period of a poll, and shorter than the life of a watch, which is then begun anew.
pub(crate) const IDLE: std::time::Duration = std::time::Duration::from_mins(4);

/// A scope on a server in memory, which has the core group and `apps` at first.
pub(crate) fn scope(api: &FakeApi) -> Scope {
    serve_groups(api, &["apps"]);
    let core = [("pods", "Pod", true), ("configmaps", "ConfigMap", true), ("namespaces", "Namespace", false)];
    api.serve("/api/v1", resources("v1", &core));
    api.serve("/apis/apps/v1", resources("apps/v1", &[("replicasets", "ReplicaSet", true)]));
    let (client, token) = (api.client(), CancellationToken::new());
    let args = Args::parse_from(["kube-controller-manager", "--kubeconfig=/nowhere"]);
    Scope {
        reader: client.clone(),
        stores: Stores::start(&client, &token),
        kinds: Kinds::new((client.clone(), client.clone()), token.clone()),
        recorder: Recorder::new(client.clone(), "test", ""),
        config: Arc::new(Config::try_from(args).unwrap()),
        client,
        token,
    }
}

/// Lets the server have some groups, each in version `v1`.
pub(crate) fn serve_groups(api: &FakeApi, groups: &[&str]) {
    let groups: Vec<Value> = groups
        .iter()
        .map(|name| {
            let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
            json!({"name": name, "versions": [version], "preferredVersion": version})
        })
        .collect();
    api.serve("/apis", json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}));
}

/// A list of resources, each given as plural, kind and whether it has namespaces.
pub(crate) fn resources(group_version: &str, kinds: &[(&str, &str, bool)]) -> Value {
    let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let resources: Vec<Value> = kinds
        .iter()
        .map(|(name, kind, namespaced)| {
            json!({"name": name, "singularName": "", "kind": kind, "namespaced": namespaced, "verbs": verbs})
        })
        .collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

/// Waits until something holds; time is paused, so this costs none.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
