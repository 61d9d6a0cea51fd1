//! What the server counts, under the names of upstream.

mod admission;
mod etcd;
mod histogram;
mod lifetimes;
mod objects;
mod requests;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use component_base::metrics::Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::registry::Registry as Kinds;
use crate::request_info::RequestInfo;
use admission::Admissions;
use etcd::EtcdRequests;
use lifetimes::CertificateLifetimes;
use objects::Objects;
use requests::Requests;

pub use admission::{AdmissionTimes, Phase};
pub use etcd::{EtcdOperation, EtcdTimes};
pub use lifetimes::Lifetimes;
pub use requests::Watching;

/// What a request in flight does.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InFlightLabels {
    request_kind: &'static str,
}

/// A flow schema and its priority level.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FlowLabels {
    flow_schema: String,
    priority_level: String,
}

/// Why a request of a flow was sent away.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RejectedLabels {
    flow_schema: String,
    priority_level: String,
    reason: &'static str,
}

/// Something that is counted for as long as this is kept.
pub struct Counted(Gauge<i64, AtomicI64>);

impl Counted {
    fn new(gauge: Gauge<i64, AtomicI64>) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What flows do.
#[derive(Default)]
struct Flows {
    rejected: Family<RejectedLabels, Counter>,
    dispatched: Family<FlowLabels, Counter>,
    waiting: Family<FlowLabels, Gauge<i64, AtomicI64>>,
    running: Family<FlowLabels, Gauge<i64, AtomicI64>>,
}

impl Flows {
    fn register(&self, registry: &mut Registry) {
        let name = |rest: &str| format!("apiserver_flowcontrol_{rest}");
        registry.register(name("rejected_requests"), "Requests sent away for want of seats", self.rejected.clone());
        registry.register(name("dispatched_requests"), "Requests that got seats", self.dispatched.clone());
        registry.register(name("current_inqueue_requests"), "Requests that wait for seats", self.waiting.clone());
        registry.register(name("current_executing_requests"), "Requests that have seats", self.running.clone());
    }
}

/// Who came and what they were told they may.
#[derive(Default)]
struct Doors {
    known: Family<[(&'static str, &'static str); 1], Counter>,
    allowed: Family<[(&'static str, &'static str); 1], Counter>,
}

/// The counters of the server.
pub struct Metrics {
    registry: Registry,
    requests: Arc<Requests>,
    in_flight: Family<InFlightLabels, Gauge<i64, AtomicI64>>,
    flows: Flows,
    doors: Doors,
    audit_lost: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = component_base::metrics::registry();
        let requests = Arc::new(Requests::default());
        registry.register_collector(Box::new(Arc::clone(&requests)));
        let in_flight = Family::default();
        registry.register("apiserver_current_inflight_requests", "Requests being worked on", in_flight.clone());
        let flows = Flows::default();
        flows.register(&mut registry);
        let doors = Doors::default();
        registry.register("authentication_attempts", "Requests by whether it is known who asks", doors.known.clone());
        registry.register("authorization_attempts", "Requests by whether they are allowed", doors.allowed.clone());
        let audit_lost = Counter::default();
        registry.register("apiserver_audit_error", "Audit events that were lost", audit_lost.clone());
        Self { registry, requests, in_flight, flows, doors, audit_lost }
    }
}

fn flow_labels((schema, level): (&str, &str)) -> FlowLabels {
    FlowLabels { flow_schema: schema.to_owned(), priority_level: level.to_owned() }
}

impl Metrics {
    /// Nothing has happened yet; of these kinds it is told how many objects there are and how long etcd takes.
    pub fn new(kinds: &Arc<Kinds>, admission: Arc<AdmissionTimes>, certificates: Option<Arc<Lifetimes>>) -> Self {
        let mut metrics = Self::default();
        metrics.registry.register_collector(Box::new(Objects(Arc::clone(kinds))));
        metrics.registry.register_collector(Box::new(EtcdRequests(Arc::clone(kinds))));
        metrics.registry.register_collector(Box::new(Admissions(admission)));
        if let Some(lifetimes) = certificates {
            metrics.registry.register_collector(Box::new(CertificateLifetimes(lifetimes)));
        }
        metrics
    }

    /// Counts a request that was ended to protect the server.
    pub fn terminated(&self, info: &RequestInfo, known: bool, code: u16) {
        self.requests.terminated(info, known, code);
    }

    /// Counts a finished request; `size` is that of its answer if it was known before it was sent.
    pub fn finished(&self, info: &RequestInfo, known: bool, answer: (u16, Option<u64>), took: Duration) {
        self.requests.finished(info, known, answer, took);
    }

    /// Counts a watch as open.
    pub fn watching(&self, info: &RequestInfo) -> Watching {
        self.requests.watching(info)
    }

    /// Counts whether a request says who asks.
    pub fn authenticated(&self, known: bool) {
        self.doors.known.get_or_create(&[("result", if known { "success" } else { "failure" })]).inc();
    }

    /// Counts whether a request is allowed.
    pub fn authorized(&self, allowed: bool) {
        self.doors.allowed.get_or_create(&[("result", if allowed { "allowed" } else { "denied" })]).inc();
    }

    /// The gauge of requests that change something, or of those that do not.
    pub fn in_flight(&self, mutating: bool) -> Gauge<i64, AtomicI64> {
        let request_kind = if mutating { "mutating" } else { "readOnly" };
        self.in_flight.get_or_create(&InFlightLabels { request_kind }).clone()
    }

    /// Counts audit events that are lost.
    pub fn audit_lost(&self) -> Counter {
        self.audit_lost.clone()
    }

    /// Counts a request as being worked on.
    pub fn running(&self, info: &crate::request_info::RequestInfo) -> Counted {
        Counted::new(self.in_flight(!matches!(info.verb.as_str(), "get" | "list" | "head" | "options")))
    }

    /// Counts a request of a flow that waits.
    pub fn flow_waits(&self, flow: (&str, &str)) -> Counted {
        Counted::new(self.flows.waiting.get_or_create(&flow_labels(flow)).clone())
    }

    /// Counts a request of a flow that has its seats.
    pub fn flow_runs(&self, flow: (&str, &str)) -> Counted {
        let labels = flow_labels(flow);
        self.flows.dispatched.get_or_create(&labels).inc();
        Counted::new(self.flows.running.get_or_create(&labels).clone())
    }

    /// Counts a request of a flow that is sent away.
    pub fn flow_rejected(&self, (schema, level): (&str, &str), reason: &'static str) {
        let labels = RejectedLabels { flow_schema: schema.to_owned(), priority_level: level.to_owned(), reason };
        self.flows.rejected.get_or_create(&labels).inc();
    }

    /// All counters as text.
    pub fn respond(&self) -> http::Response<http_body_util::Full<bytes::Bytes>> {
        component_base::metrics::respond(&self.registry)
    }
}
