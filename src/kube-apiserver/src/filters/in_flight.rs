//! How many requests are worked on at once, in lanes that cannot crowd each other out.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use apimachinery::Status;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::LimitArgs;
use crate::metrics::Metrics;
use crate::request_info::RequestInfo;
use crate::user::User;

/// Requests of the lane that keeps the cluster alive.
const VITAL: usize = 64;
/// How long a request waits for room before it is sent away.
const PATIENCE: Duration = Duration::from_secs(5);
/// For each request worked on, this many may wait.
const WAITING: usize = 8;

/// The lanes.
pub struct InFlight {
    reading: Lane,
    writing: Lane,
    /// Heartbeats and leader election.
    vital: Lane,
}

struct Lane {
    room: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

/// A request's place; given up when dropped.
pub struct Room {
    _permit: Option<OwnedSemaphorePermit>,
    gauge: Option<Gauge<i64, AtomicI64>>,
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(gauge) = &self.gauge {
            gauge.dec();
        }
    }
}

impl Lane {
    fn new(size: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(size)), queue: Arc::new(Semaphore::new(size.saturating_mul(WAITING))) }
    }

    async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = self.queue.try_acquire().ok()?;
        let permit = tokio::time::timeout(PATIENCE, Arc::clone(&self.room).acquire_owned()).await;
        permit.ok()?.ok()
    }
}

impl InFlight {
    /// Lanes as wide as the flags say; 0 means no limit.
    pub fn new(limits: &LimitArgs) -> Self {
        let size = |limit| if limit == 0 { Semaphore::MAX_PERMITS / WAITING } else { limit };
        Self {
            reading: Lane::new(size(limits.max_requests_inflight)),
            writing: Lane::new(size(limits.max_mutating_requests_inflight)),
            vital: Lane::new(VITAL),
        }
    }

    /// Waits for room.
    ///
    /// # Errors
    /// 429 if there is none for too long.
    pub async fn enter(&self, info: &RequestInfo, user: &User, metrics: &Metrics) -> Result<Room, Status> {
        if is_exempt(info) {
            return Ok(Room { _permit: None, gauge: None });
        }
        let mutating = !matches!(info.verb.as_str(), "get" | "list" | "head" | "options");
        let lane = match (is_vital(info, user), mutating) {
            (true, _) => &self.vital,
            (false, true) => &self.writing,
            (false, false) => &self.reading,
        };
        let Some(permit) = lane.enter().await else {
            return Err(Status::too_many_requests("Too many requests, please try again later.", 1));
        };
        let gauge = metrics.in_flight(mutating);
        gauge.inc();
        Ok(Room { _permit: Some(permit), gauge: Some(gauge) })
    }
}

/// Streams have other limits, and a server under load must still say how it is.
fn is_exempt(info: &RequestInfo) -> bool {
    info.is_long_running()
        || ["/livez", "/readyz", "/healthz", "/metrics"].iter().any(|path| info.path.starts_with(path))
}

/// Leases of nodes and leaders, and what nodes say of themselves.
fn is_vital(info: &RequestInfo, user: &User) -> bool {
    let leases = info.group == "coordination.k8s.io" && info.resource == "leases" && info.verb != "list";
    let own = user.node_name().is_some() && info.group.is_empty() && info.resource == "nodes";
    let system = user.name.starts_with("system:");
    (leases && system) || own
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn room(writing: usize) -> InFlight {
        InFlight { reading: Lane::new(1), writing: Lane::new(writing), vital: Lane::new(1) }
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_get_through_any_load() {
        let in_flight = room(1);
        let metrics = Metrics::default();
        let user = User::new("somebody", ["system:authenticated"]);
        let kubelet = User::new("system:node:n", ["system:nodes"]);
        let write = RequestInfo::parse(&Method::POST, "/api/v1/namespaces/a/pods", "");
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n";
        let lease = RequestInfo::parse(&Method::PUT, lease, "");
        let _first = in_flight.enter(&write, &user, &metrics).await.unwrap();
        let refused = in_flight.enter(&write, &user, &metrics).await;
        assert_eq!(refused.err().map(|status| status.code()), Some(429));
        assert!(in_flight.enter(&lease, &kubelet, &metrics).await.is_ok());
    }

    #[test]
    fn what_stays_open_takes_no_room() {
        assert!(is_exempt(&RequestInfo::parse(&Method::GET, "/api/v1/pods", "watch=1")));
        assert!(is_exempt(&RequestInfo::parse(&Method::GET, "/readyz", "")));
        assert!(!is_exempt(&RequestInfo::parse(&Method::GET, "/api/v1/pods", "")));
    }
}
