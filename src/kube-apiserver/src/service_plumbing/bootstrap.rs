//! What every cluster has from its first moment: namespaces, priority classes, the `kubernetes` Service and the network
//! its address is of.

use apimachinery::{Object, Status, Value, time, value};
use jiff::Timestamp;
use std::sync::Arc;
use storage::StorageError;

use super::networks::{DEFAULT, GROUP, PLURAL, nth};
use crate::app::App;
use crate::error;
use crate::first_objects::First;
use crate::registry::Resource;
use crate::verbs::store::Cursor;

/// The namespaces of the system.
const NAMESPACES: &[&str] = &["default", "kube-public", "kube-node-lease", "kube-system"];

/// The priority classes of the system: name, value, what for.
const PRIORITY_CLASSES: &[(&str, i64, &str)] = &[
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// The objects for a new cluster but for the `kubernetes` Service, whose address has to be taken; namespaces come last.
pub fn first() -> Vec<First> {
    let classes = PRIORITY_CLASSES.iter().map(|of| ("scheduling.k8s.io", "priorityclasses", priority_class(*of)));
    classes.chain(NAMESPACES.iter().map(|name| ("", "namespaces", namespace(name)))).collect()
}

/// Makes what is missing.
///
/// # Errors
/// If etcd fails.
pub async fn ensure(app: &Arc<App>) -> Result<(), Status> {
    for (group, plural, object) in first() {
        create(app, (group, plural), object).await?;
    }
    ensure_network(app).await?;
    create(app, ("", "services"), kubernetes_service(app)).await
}

/// Makes the default `ServiceCIDR` if it is missing. One that is there stays as it is, but for a second family of the flags.
///
/// # Errors
/// If etcd fails.
pub async fn ensure_network(app: &Arc<App>) -> Result<(), Status> {
    create(app, (GROUP, PLURAL), service_cidr(app)).await?;
    let Some(store) = app.registry.stored(GROUP, PLURAL).and_then(|resource| resource.store.as_ref()) else {
        return Ok(());
    };
    let flags: Vec<String> = app.config.service.service_cluster_ip_range.iter().map(ToString::to_string).collect();
    let mut cursor = Cursor::open(store, store.key("", DEFAULT)).await?;
    while let Some(present) = cursor.current() {
        let mut object = present.object();
        if !widen(&mut object, &flags) || cursor.write(&object, None).await?.is_some() {
            break;
        }
    }
    Ok(())
}

/// Adds the second family of the flags to a range that has the first one only; false if that is not so.
fn widen(range: &mut Object, flags: &[String]) -> bool {
    let present: Vec<&str> = range.list_at(&["spec", "cidrs"]).iter().filter_map(Value::as_str).collect();
    if flags.len() != 2 || present != [flags[0].as_str()] {
        if present != flags {
            tracing::warn!(?present, ?flags, "the ServiceCIDR \"kubernetes\" has other networks than the flags say");
        }
        return false;
    }
    range.set_at(&["spec", "cidrs"], flags.iter().map(String::as_str).collect::<Value>());
    range.set_generation(range.generation() + 1);
    true
}

/// The networks of cluster IPs as an object, for those who want to know them.
fn service_cidr(app: &App) -> Object {
    let mut range = Object::new("networking.k8s.io/v1", "ServiceCIDR");
    range.set_name(DEFAULT);
    let networks = app.config.service.service_cluster_ip_range.iter().map(ToString::to_string);
    range.set_at(&["spec", "cidrs"], networks.map(Value::from).collect::<Vec<_>>());
    range.set_at(
        &["status", "conditions"],
        value!([{
            "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
            "lastTransitionTime": time::format(Timestamp::now()),
        }]),
    );
    range
}

fn namespace(name: &str) -> Object {
    let mut namespace = Object::new("v1", "Namespace");
    namespace.set_name(name);
    namespace.set_label("kubernetes.io/metadata.name", name);
    namespace.set_at(&["spec", "finalizers"], value!(["kubernetes"]));
    namespace.set_at(&["status", "phase"], "Active");
    namespace
}

fn priority_class((name, priority, about): (&str, i64, &str)) -> Object {
    let mut class = Object::new("scheduling.k8s.io/v1", "PriorityClass");
    class.set_name(name);
    class.set_at(&["value"], priority);
    class.set_at(&["description"], about);
    class.set_at(&["preemptionPolicy"], "PreemptLowerPriority");
    class
}

fn kubernetes_service(app: &App) -> Object {
    let mut service = Object::new("v1", "Service");
    service.set_name("kubernetes");
    service.set_namespace("default");
    service.set_label("component", "apiserver");
    service.set_label("provider", "kubernetes");
    let ip = app.config.service.service_cluster_ip_range.first().map(|range| nth(range, 1).to_string());
    let ip = ip.unwrap_or_default();
    service.set_at(
        &["spec"],
        value!({
            "type": "ClusterIP",
            "clusterIP": ip.as_str(),
            "clusterIPs": [ip.as_str()],
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
            "ports": [{
                "name": "https", "port": 443, "protocol": "TCP",
                "targetPort": i64::from(app.config.advertise_port),
            }],
        }),
    );
    service.set_at(&["status", "loadBalancer"], Value::map());
    service
}

async fn create(app: &Arc<App>, (group, plural): (&str, &str), mut object: Object) -> Result<(), Status> {
    let Some(resource) = app.registry.stored(group, plural) else { return Ok(()) };
    let Some(store) = &resource.store else { return Ok(()) };
    let key = store.key(object.namespace(), object.name());
    if store.cacher.get(&key).ok().flatten().is_some() {
        return Ok(());
    }
    stamp(&mut object);
    (resource.descriptor.strategy.default)(&mut object);
    insert(app, resource, object).await
}

async fn insert(app: &Arc<App>, resource: &Resource, mut object: Object) -> Result<(), Status> {
    let Some(store) = &resource.store else { return Ok(()) };
    let key = store.key(object.namespace(), object.name());
    let reservation = match app.allocators.reserve_create(app, resource, &mut object).await {
        Ok(reservation) => reservation,
        // Another server is making the same Service just now.
        Err(status) if status.code() == 422 => return Ok(()),
        Err(status) => return Err(status),
    };
    match store.create(&key, &object, None).await {
        Ok(_) => {
            reservation.keep();
            Ok(())
        }
        Err(StorageError::Exists { .. }) => {
            reservation.release().await;
            Ok(())
        }
        Err(failed) => {
            reservation.release().await;
            Err(error::from_storage(&failed))
        }
    }
}

/// Gives an object made by the server itself a uid and a birthday.
pub fn stamp(object: &mut Object) {
    object.set_uid(&uuid::Uuid::new_v4().to_string());
    object.set_creation_timestamp(&time::format(Timestamp::now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_network_only_ever_gets_a_second_family() {
        let check = |present: &[&str], flags: &[&str], expected: &[&str]| {
            let mut range = Object::new("networking.k8s.io/v1", "ServiceCIDR");
            range.set_at(&["spec", "cidrs"], present.iter().copied().collect::<Value>());
            let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
            assert_eq!(widen(&mut range, &flags), present != expected);
            let now: Vec<&str> = range.list_at(&["spec", "cidrs"]).iter().filter_map(Value::as_str).collect();
            assert_eq!(now, expected);
        };
        check(&["10.96.0.0/24"], &["10.96.0.0/24", "fd00::/112"], &["10.96.0.0/24", "fd00::/112"]);
        check(&["10.96.0.0/24"], &["10.96.0.0/24"], &["10.96.0.0/24"]);
        check(&["10.96.0.0/24"], &["10.97.0.0/24", "fd00::/112"], &["10.96.0.0/24"]);
        check(&["10.96.0.0/24", "fd00::/112"], &["10.96.0.0/24"], &["10.96.0.0/24", "fd00::/112"]);
    }
}
