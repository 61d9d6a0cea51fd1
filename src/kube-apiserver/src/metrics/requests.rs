//! What requests are counted by: one entry for each verb of each resource, found without making a single text.
//!
//! Entries come from requests that a part of the server has answered, so there are only as many as the table allows.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::histogram::{Buckets, Histogram};
use crate::request_info::RequestInfo;

/// Upstream's limits of request durations, in seconds.
pub(super) const SECONDS: Buckets<23> = Buckets([
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
]);
/// Upstream's limits of sizes of responses, in bytes.
const BYTES: Buckets<7> = Buckets([1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9]);

/// All entries.
#[derive(Default)]
pub(super) struct Requests {
    hasher: RandomState,
    entries: RwLock<HashMap<u64, Vec<Arc<Entry>>>>,
}

/// What is said of requests that are the same but for the names of objects.
#[derive(Clone, Copy, Hash, PartialEq, Eq)]
struct Labels<'a> {
    verb: &'static str,
    group: &'a str,
    version: &'a str,
    resource: &'a str,
    subresource: &'a str,
    scope: &'static str,
    dry_run: &'static str,
}

/// The counters of one sort of request.
#[derive(Default)]
struct Entry {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    dry_run: &'static str,
    codes: Mutex<Vec<(u16, u64)>>,
    terminations: Mutex<Vec<(u16, u64)>>,
    duration: Histogram<23>,
    size: Histogram<7>,
    open: AtomicI64,
    events: AtomicU64,
}

/// A watch that is counted for as long as this is kept.
pub struct Watching(Arc<Entry>);

impl Watching {
    /// Counts events that were sent.
    pub fn sent(&self, events: u64) {
        self.0.events.fetch_add(events, Ordering::Relaxed);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<'a> Labels<'a> {
    fn of(info: &'a RequestInfo, known: bool) -> Self {
        let verb = verb_of(info);
        if !info.is_resource || !known {
            // What is no resource is told by its path, as far as there is a list of those.
            let path = PATHS.iter().find(|path| info.path.starts_with(**path) && !info.is_resource).copied();
            let (subresource, none) = (path.unwrap_or_default(), "");
            return Self { verb, group: none, version: none, resource: none, subresource, scope: none, dry_run: none };
        }
        let scope = match (info.name.is_empty() && info.verb != "create", info.namespace.is_empty()) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        };
        let dry_run = if info.query.get("dryRun").is_some_and(|value| !value.is_empty()) { "All" } else { "" };
        let (group, version) = (&*info.group, &*info.version);
        Self { verb, group, version, resource: &info.resource, subresource: &info.subresource, scope, dry_run }
    }
}

/// The paths that are told apart.
const PATHS: &[&str] =
    &["/livez", "/readyz", "/healthz", "/metrics", "/version", "/openapi/v2", "/openapi/v3", "/apis", "/api"];

/// Upstream's word for what is done.
fn verb_of(info: &RequestInfo) -> &'static str {
    if info.is_resource && matches!(&*info.subresource, "exec" | "attach" | "portforward" | "proxy") {
        return "CONNECT";
    }
    match &*info.verb {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" if info.applies => "APPLY",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "head" => "HEAD",
        _ => "other",
    }
}

impl Requests {
    /// Counts a request that is over; `size` is that of its answer if it was known before it was sent.
    pub(super) fn finished(&self, info: &RequestInfo, known: bool, (code, size): (u16, Option<u64>), took: Duration) {
        let entry = self.entry(Labels::of(info, known));
        count(&entry.codes, code);
        if info.is_long_running() {
            return;
        }
        entry.duration.observe(&SECONDS, took.as_secs_f64());
        if let Some(size) = size.filter(|_| matches!(entry.verb, "GET" | "LIST")) {
            #[expect(clippy::cast_precision_loss, reason = "no answer is that large")]
            entry.size.observe(&BYTES, size as f64);
        }
    }

    /// Counts a request that was ended to protect the server.
    pub(super) fn terminated(&self, info: &RequestInfo, known: bool, code: u16) {
        count(&self.entry(Labels::of(info, known)).terminations, code);
    }

    /// Counts a watch as open.
    pub(super) fn watching(&self, info: &RequestInfo) -> Watching {
        let entry = self.entry(Labels::of(info, true));
        entry.open.fetch_add(1, Ordering::Relaxed);
        Watching(entry)
    }

    fn entry(&self, labels: Labels<'_>) -> Arc<Entry> {
        let hash = self.hasher.hash_one(labels);
        let find = |entries: &HashMap<u64, Vec<Arc<Entry>>>| {
            entries.get(&hash)?.iter().find(|entry| entry.labels() == labels).cloned()
        };
        if let Some(found) = find(&self.entries.read().unwrap_or_else(PoisonError::into_inner)) {
            return found;
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = find(&entries) {
            return found;
        }
        let Labels { verb, group, version, resource, subresource, scope, dry_run } = labels;
        let entry = Arc::new(Entry {
            verb,
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            scope,
            dry_run,
            ..Entry::default()
        });
        entries.entry(hash).or_default().push(Arc::clone(&entry));
        entry
    }

    fn each(&self, mut tell: impl FnMut(&Entry) -> fmt::Result) -> fmt::Result {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().flatten().try_for_each(|entry| tell(entry))
    }
}

fn count(codes: &Mutex<Vec<(u16, u64)>>, code: u16) {
    let mut codes = codes.lock().unwrap_or_else(PoisonError::into_inner);
    match codes.iter_mut().find(|(of, _)| *of == code) {
        Some((_, count)) => *count += 1,
        None => codes.push((code, 1)),
    }
}

impl Entry {
    fn labels(&self) -> Labels<'_> {
        Labels {
            verb: self.verb,
            group: &self.group,
            version: &self.version,
            resource: &self.resource,
            subresource: &self.subresource,
            scope: self.scope,
            dry_run: self.dry_run,
        }
    }

    /// The labels all metrics of requests have.
    fn told(&self) -> [(&'static str, &str); 7] {
        [
            ("component", "apiserver"),
            ("group", &self.group),
            ("resource", &self.resource),
            ("scope", self.scope),
            ("subresource", &self.subresource),
            ("verb", self.verb),
            ("version", &self.version),
        ]
    }

    fn told_with<'a>(&'a self, more: &[(&'static str, &'a str)]) -> Vec<(&'static str, &'a str)> {
        self.told().into_iter().chain(more.iter().copied()).collect()
    }

    fn encode_codes(
        &self,
        codes: &Mutex<Vec<(u16, u64)>>,
        more: &[(&'static str, &str)],
        family: &mut MetricEncoder<'_>,
    ) -> fmt::Result {
        let codes = codes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (code, count) in codes {
            let code = code.to_string();
            let mut labels = self.told_with(&[("code", &code)]);
            labels.extend(more);
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requests")
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let about = "Requests by verb, resource, scope and code";
        let mut family = encoder.encode_descriptor("apiserver_request", about, None, MetricType::Counter)?;
        self.each(|entry| entry.encode_codes(&entry.codes, &[("dry_run", entry.dry_run)], &mut family))?;
        let about = "Requests that were ended to protect the server";
        let name = "apiserver_request_terminations";
        let mut family = encoder.encode_descriptor(name, about, None, MetricType::Counter)?;
        self.each(|entry| entry.encode_codes(&entry.terminations, &[], &mut family))?;
        let about = "How long requests took that do not stay open, in seconds";
        for name in ["apiserver_request_duration_seconds", "apiserver_request_sli_duration_seconds"] {
            let mut family = encoder.encode_descriptor(name, about, None, MetricType::Histogram)?;
            self.each(|entry| {
                let labels = entry.told_with(&[("dry_run", entry.dry_run)]);
                entry.duration.encode(&SECONDS, &mut family, &labels)
            })?;
        }
        let about = "How large answers to reads were, in bytes";
        let mut family = encoder.encode_descriptor("apiserver_response_sizes", about, None, MetricType::Histogram)?;
        self.each(|entry| entry.size.encode(&BYTES, &mut family, &entry.told_with(&[])))?;
        let about = "Watches that are open";
        let mut family = encoder.encode_descriptor("apiserver_longrunning_requests", about, None, MetricType::Gauge)?;
        self.each(|entry| match entry.verb {
            "WATCH" => family.encode_family(&entry.told())?.encode_gauge(&entry.open.load(Ordering::Relaxed)),
            _ => Ok(()),
        })?;
        let about = "Events sent to watches";
        let mut family = encoder.encode_descriptor("apiserver_watch_events", about, None, MetricType::Counter)?;
        self.each(|entry| {
            if entry.verb != "WATCH" {
                return Ok(());
            }
            let events = entry.events.load(Ordering::Relaxed);
            family.encode_family(&entry.told())?.encode_counter::<NoLabelSet, u64, u64>(&events, None)
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn info(method: &Method, target: &str) -> RequestInfo {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        RequestInfo::parse(method, path, query)
    }

    fn labels(method: &Method, target: &str) -> (&'static str, &'static str, &'static str, String) {
        let info = info(method, target);
        let labels = Labels::of(&info, true);
        (labels.verb, labels.scope, labels.dry_run, format!("{}/{}", labels.resource, labels.subresource))
    }

    #[test]
    fn requests_have_upstreams_words() {
        let pods = "/api/v1/namespaces/a/pods";
        for (method, target, wanted) in [
            (Method::GET, "/api/v1/pods", ("LIST", "cluster", "", "pods/")),
            (Method::GET, pods, ("LIST", "namespace", "", "pods/")),
            (Method::GET, "/api/v1/pods?watch=1", ("WATCH", "cluster", "", "pods/")),
            (Method::POST, pods, ("POST", "resource", "", "pods/")),
            (Method::PUT, "/api/v1/namespaces/a/pods/p/status", ("PUT", "resource", "", "pods/status")),
            (Method::PATCH, "/api/v1/nodes/n?dryRun=All", ("PATCH", "resource", "All", "nodes/")),
            (Method::DELETE, pods, ("DELETECOLLECTION", "namespace", "", "pods/")),
            (Method::POST, "/api/v1/namespaces/a/pods/p/exec", ("CONNECT", "resource", "", "pods/exec")),
            (Method::GET, "/readyz/etcd", ("GET", "", "", "//readyz")),
            (Method::OPTIONS, "/nothing", ("other", "", "", "/")),
        ] {
            let (verb, scope, dry_run, resource) = wanted;
            assert_eq!(labels(&method, target), (verb, scope, dry_run, resource.to_owned()), "{method} {target}");
        }
    }

    #[test]
    fn what_nobody_serves_makes_no_entry_of_its_own() {
        let requests = Requests::default();
        for number in 0..50 {
            let info = info(&Method::GET, &format!("/apis/g{number}/v1/things"));
            requests.finished(&info, false, (404, None), Duration::ZERO);
        }
        assert_eq!(requests.entries.read().unwrap().len(), 1);
        let watch = info(&Method::GET, "/api/v1/pods?watch=1");
        let open = requests.watching(&watch);
        open.sent(3);
        assert_eq!((open.0.open.load(Ordering::Relaxed), open.0.events.load(Ordering::Relaxed)), (1, 3));
        let entry = Arc::clone(&open.0);
        drop(open);
        assert_eq!(entry.open.load(Ordering::Relaxed), 0);
    }
}
