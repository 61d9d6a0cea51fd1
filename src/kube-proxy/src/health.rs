//! Whether the proxy does its work, as `/healthz` (may this node get traffic?) and `/livez` (is the
//! process fine?) tell it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use component_base::metrics::Registry;
use component_base::metrics::prometheus_client::metrics::counter::Counter;
use http::{Response, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

/// A change that waits longer than this means that the proxy is stuck.
const STUCK_AFTER: Duration = Duration::from_mins(2);
/// The taint of a node that is about to be taken away.
const LEAVING_TAINT: &str = "ToBeDeletedByClusterAutoscaler";

/// Shared facts about the proxy's work.
#[derive(Debug)]
pub struct Health {
    updated_ms: AtomicI64,
    pending_since_ms: AtomicI64,
    eligible: AtomicBool,
    syncs: Counter,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            updated_ms: AtomicI64::new(0),
            pending_since_ms: AtomicI64::new(0),
            eligible: AtomicBool::new(true),
            syncs: Counter::default(),
        }
    }
}

impl Health {
    /// Announces the metrics of the proxy.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "kubeproxy_sync_proxy_rules",
            "Transactions that brought the rules up to date",
            self.syncs.clone(),
        );
    }

    /// A change waits to be applied.
    pub fn pending(&self) {
        let now = Timestamp::now().as_millisecond();
        let _ = self.pending_since_ms.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// All changes are applied.
    pub fn updated(&self) {
        self.pending_since_ms.store(0, Ordering::Relaxed);
        self.updated_ms.store(Timestamp::now().as_millisecond(), Ordering::Relaxed);
        self.syncs.inc();
    }

    /// Takes over from the Node whether it stays.
    pub fn observe(&self, node: &Node) {
        let taints = node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default();
        let leaves = node.metadata.deletion_timestamp.is_some() || taints.iter().any(|t| t.key == LEAVING_TAINT);
        self.eligible.store(!leaves, Ordering::Relaxed);
    }

    /// Whether rules were applied and no change waits for too long.
    pub fn is_live(&self) -> bool {
        let since = self.pending_since_ms.load(Ordering::Relaxed);
        let waited = Timestamp::now().as_millisecond().saturating_sub(since);
        let stuck = since != 0 && u128::try_from(waited).is_ok_and(|w| w > STUCK_AFTER.as_millis());
        self.updated_ms.load(Ordering::Relaxed) != 0 && !stuck
    }

    /// Answers `/healthz` and `/livez`.
    pub fn respond(&self, path: &str) -> Response<Full<Bytes>> {
        let eligible = self.eligible.load(Ordering::Relaxed);
        let healthy = match path {
            "/healthz" => self.is_live() && eligible,
            "/livez" => self.is_live(),
            _ => return answer(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
        };
        let now = Timestamp::now();
        let millis = self.updated_ms.load(Ordering::Relaxed);
        let updated = Timestamp::from_millisecond(millis).unwrap_or(now);
        let body = serde_json::json!({
            "lastUpdated": updated.to_string(),
            "currentTime": now.to_string(),
            "nodeEligible": eligible,
        });
        let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        answer(status, body.to_string())
    }
}

/// A small answer that no browser guesses about.
pub fn answer(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert("x-content-type-options", http::HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_healthy_only_after_the_first_rules() {
        let health = Health::default();
        assert_eq!(health.respond("/healthz").status(), 503);
        health.pending();
        health.updated();
        assert_eq!(health.respond("/healthz").status(), 200);
        assert_eq!(health.respond("/other").status(), 404);
    }

    #[test]
    fn a_node_that_leaves_gets_no_more_traffic_but_stays_alive() {
        let health = Health::default();
        health.updated();
        let node =
            serde_json::json!({"metadata": {}, "spec": {"taints": [{"key": LEAVING_TAINT, "effect": "NoSchedule"}]}});
        health.observe(&serde_json::from_value(node).unwrap());
        assert_eq!(health.respond("/healthz").status(), 503);
        assert_eq!(health.respond("/livez").status(), 200);
    }
}
