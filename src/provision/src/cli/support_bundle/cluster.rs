//! The cluster's objects, as the API gives them. No Secrets and no `ConfigMaps`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cli::status;

/// How long the API may take for one list.
const PATIENCE: Duration = Duration::from_secs(20);

const PATHS: &[(&str, &str)] = &[
    ("version", "/version"),
    ("nodes", "/api/v1/nodes"),
    ("namespaces", "/api/v1/namespaces"),
    ("pods", "/api/v1/pods"),
    ("services", "/api/v1/services"),
    ("events", "/api/v1/events"),
    ("persistentvolumes", "/api/v1/persistentvolumes"),
    ("persistentvolumeclaims", "/api/v1/persistentvolumeclaims"),
    ("endpointslices", "/apis/discovery.k8s.io/v1/endpointslices"),
    ("deployments", "/apis/apps/v1/deployments"),
    ("daemonsets", "/apis/apps/v1/daemonsets"),
    ("replicasets", "/apis/apps/v1/replicasets"),
    ("statefulsets", "/apis/apps/v1/statefulsets"),
    ("jobs", "/apis/batch/v1/jobs"),
    ("poddisruptionbudgets", "/apis/policy/v1/poddisruptionbudgets"),
    ("leases", "/apis/coordination.k8s.io/v1/leases"),
    ("apiservices", "/apis/apiregistration.k8s.io/v1/apiservices"),
];

/// Every list that the API gives; one that it does not give holds the reason instead.
pub(super) async fn dump(kubeconfig: &str) -> Result<Vec<(&'static str, Value)>> {
    let client = status::client(kubeconfig).await?;
    let version = tokio::time::timeout(PATIENCE, client.apiserver_version()).await;
    version.context("the API does not answer")??;
    let mut objects = Vec::new();
    for (name, path) in PATHS {
        let request = http::Request::get(*path).body(Vec::new()).context("a constant request")?;
        let object = match tokio::time::timeout(PATIENCE, client.request::<Value>(request)).await {
            Ok(Ok(object)) => object,
            Ok(Err(error)) => serde_json::json!({ "error": error.to_string() }),
            Err(_) => serde_json::json!({ "error": "no answer in time" }),
        };
        objects.push((*name, object));
    }
    Ok(objects)
}
