//! A `ServiceCIDR` is ready while it lives, and stays until no Service has an address that is of no other one (KEP-1880).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use controller_runtime::{Event, ObjectKey, Requeue, Store, WorkQueue};
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Api;
use kube::api::PostParams;

use crate::ownership::{is_deleting, labels};
use crate::scope::Scope;

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// The label of addresses that API servers took for Services, and what it says.
const MANAGED_BY: (&str, &str) = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");
/// How long after its deletion a network may still be believed to be good by some API server, as upstream has it.
const GRACE: Duration = Duration::from_secs(10);

/// What a condition says: its status, reason and message.
type Word = (&'static str, &'static str, &'static str);

const READY: Word = ("True", "", "Kubernetes Service CIDR is ready");
const IN_USE: Word = (
    "False",
    "Terminating",
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
);

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("service-cidr");
    let (changed, ranges) = (queue.clone(), scope.stores.service_cidrs.clone());
    scope.stores.service_cidrs.on_event(move |event| {
        changed.add(ObjectKey::of(event.object().as_ref()));
        // What is new may be the other home of the addresses of one that ends.
        look_at_ending(&ranges, &changed);
    });
    let (freed, ranges) = (queue.clone(), scope.stores.service_cidrs.clone());
    scope.stores.ip_addresses.on_event(move |event| {
        if let Event::Deleted(_) = event {
            look_at_ending(&ranges, &freed);
        }
    });
    tokio::join!(scope.stores.service_cidrs.synced(), scope.stores.ip_addresses.synced());
    let reconciling = scope.clone();
    scope.work(queue, 1, move |key| reconcile(reconciling.clone(), key)).await;
}

fn look_at_ending(ranges: &Store<ServiceCIDR>, queue: &WorkQueue<ObjectKey>) {
    for range in ranges.select(is_deleting) {
        queue.add(ObjectKey::of(range.as_ref()));
    }
}

async fn reconcile(scope: Scope, key: ObjectKey) -> Result<Requeue, kube::Error> {
    let Some(range) = scope.stores.service_cidrs.get(&key) else { return Ok(Requeue::No) };
    let api: Api<ServiceCIDR> = Api::all(scope.client.clone());
    let mut next = ServiceCIDR::clone(&range);
    let finalizers = next.metadata.finalizers.get_or_insert_default();
    let is_protected = finalizers.iter().any(|name| name == FINALIZER);
    match (is_deleting(range.as_ref()), is_protected) {
        (false, true) => return tell(&api, &range, READY).await,
        (false, false) => finalizers.push(FINALIZER.to_owned()),
        (true, false) => return Ok(Requeue::No),
        (true, true) => {
            if is_in_use(&range, &scope.stores.service_cidrs.list(), &scope.stores.ip_addresses.list()) {
                return tell(&api, &range, IN_USE).await;
            }
            let left = grace_left(&range, Timestamp::now());
            if !left.is_zero() {
                return Ok(Requeue::After(left));
            }
            finalizers.retain(|name| name != FINALIZER);
        }
    }
    written(api.replace(&key.name, &PostParams::default(), &next).await)
}

/// Writes the condition `Ready`, unless it has this status already.
async fn tell(
    api: &Api<ServiceCIDR>,
    range: &ServiceCIDR,
    (status, reason, message): Word,
) -> Result<Requeue, kube::Error> {
    let mut next = range.clone();
    let conditions = next.status.get_or_insert_default().conditions.get_or_insert_default();
    if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == status) {
        return Ok(Requeue::No);
    }
    conditions.retain(|condition| condition.type_ != "Ready");
    conditions.push(Condition {
        type_: "Ready".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::now()),
    });
    let name = range.metadata.name.as_deref().unwrap_or_default();
    written(api.replace_status(name, &PostParams::default(), &next).await)
}

fn written(outcome: Result<ServiceCIDR, kube::Error>) -> Result<Requeue, kube::Error> {
    match outcome {
        // It changed or went meanwhile, which is an event.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Requeue::No),
        outcome => outcome.map(|_| Requeue::No),
    }
}

/// Whether a Service has an address of this range that would be of none without it.
fn is_in_use(range: &ServiceCIDR, all: &[Arc<ServiceCIDR>], addresses: &[Arc<IPAddress>]) -> bool {
    let own = networks(range);
    let others = all.iter().filter(|other| other.metadata.name != range.metadata.name && !is_deleting(other.as_ref()));
    let others: Vec<IpNet> = others.flat_map(|other| networks(other)).collect();
    let has = |networks: &[IpNet], ip: &IpAddr| networks.iter().any(|network| network.contains(ip));
    let of_services = addresses
        .iter()
        .filter(|address| labels(address.as_ref()).get(MANAGED_BY.0).is_some_and(|manager| manager == MANAGED_BY.1));
    let mut ips = of_services.filter_map(|address| address.metadata.name.as_deref()?.parse().ok());
    ips.any(|ip| has(&own, &ip) && !has(&others, &ip))
}

fn networks(range: &ServiceCIDR) -> Vec<IpNet> {
    let texts = range.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    texts.filter_map(|text| text.parse().ok()).collect()
}

fn grace_left(range: &ServiceCIDR, now: Timestamp) -> Duration {
    let since = range.metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0);
    let waited: Duration = now.duration_since(since).try_into().unwrap_or(Duration::ZERO);
    GRACE.saturating_sub(waited)
}

#[cfg(test)]
mod tests;
