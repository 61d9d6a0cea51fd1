//! What the server counts, under the names of upstream.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use component_base::metrics::Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

/// What a request was about; all values come from the table or from small sets.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RequestLabels {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    code: u16,
}

/// What a request in flight does.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InFlightLabels {
    request_kind: &'static str,
}

/// What a request was about, without its outcome.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DurationLabels {
    verb: String,
    resource: String,
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

/// The counters of the server.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram, fn() -> Histogram>,
    in_flight: Family<InFlightLabels, Gauge<i64, AtomicI64>>,
    flows: Flows,
    audit_lost: Counter,
}

/// The limits of the buckets of request durations, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 1.0, 5.0, 15.0, 60.0];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let durations = Family::new_with_constructor(new_histogram as fn() -> Histogram);
        let in_flight = Family::default();
        registry.register("apiserver_request", "Requests by verb, resource, scope and code", requests.clone());
        registry.register(
            "apiserver_request_duration_seconds",
            "How long requests took that do not stay open",
            durations.clone(),
        );
        registry.register("apiserver_current_inflight_requests", "Requests being worked on", in_flight.clone());
        let flows = Flows::default();
        flows.register(&mut registry);
        let audit_lost = Counter::default();
        registry.register("apiserver_audit_error", "Audit events that were lost", audit_lost.clone());
        Self { registry, requests, durations, in_flight, flows, audit_lost }
    }
}

fn flow_labels((schema, level): (&str, &str)) -> FlowLabels {
    FlowLabels { flow_schema: schema.to_owned(), priority_level: level.to_owned() }
}

fn new_histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Metrics {
    /// Counts a finished request.
    pub fn finished(&self, info: &crate::request_info::RequestInfo, known: bool, code: u16, took: Duration) {
        let text = |text: &str| if known { text.to_owned() } else { String::new() };
        let scope = match (known, info.name.is_empty(), info.namespace.is_empty()) {
            (false, ..) => "",
            (_, false, _) => "resource",
            (_, true, false) => "namespace",
            (_, true, true) => "cluster",
        };
        let verb = if info.verb.is_empty() { "other".to_owned() } else { info.verb.to_ascii_uppercase() };
        let long = info.is_long_running();
        self.requests
            .get_or_create(&RequestLabels {
                verb: verb.clone(),
                group: text(&info.group),
                version: text(&info.version),
                resource: text(&info.resource),
                subresource: text(&info.subresource),
                scope,
                code,
            })
            .inc();
        if !long {
            let labels = DurationLabels { verb, resource: text(&info.resource) };
            self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        }
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
