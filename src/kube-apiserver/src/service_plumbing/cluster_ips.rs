//! Cluster IPs: each one in use is an `IPAddress` object, whose name is the lock on it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use apimachinery::field::FieldError;
use apimachinery::{Object, Status, Value, value};
use ipnet::IpNet;
use storage::StorageError;

use super::networks::{Networks, candidates, family_name, same_family};
use super::{Holdings, Refusal, bootstrap, type_of};
use crate::app::App;
use crate::error;
use crate::registry::Store;

/// The label of addresses that were taken for Services, and what it says.
const MANAGED_BY: (&str, &str) = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");

pub(super) struct ClusterIps {
    /// The networks of the flags: they say which families there are, and which is the first.
    ranges: Vec<IpNet>,
}

impl ClusterIps {
    pub(super) fn new(ranges: &[IpNet]) -> Self {
        Self { ranges: ranges.to_vec() }
    }

    /// Gives a Service the addresses it needs beyond those it holds.
    pub(super) async fn reserve(
        &self,
        app: &Arc<App>,
        service: &mut Object,
        held: &Holdings,
        taken: &mut Vec<IpAddr>,
    ) -> Result<(), Refusal> {
        if type_of(service) == "ExternalName" {
            return Ok(());
        }
        let wanted = service.str_at(&["spec", "clusterIP"]).to_owned();
        let ranges = self.families(service)?;
        write_families(service, &ranges);
        if wanted == "None" {
            service.set_at(&["spec", "clusterIPs"], value!(["None"]));
            return Ok(());
        }
        let mut given = given(service)?;
        let of_family = |range: &IpNet| given.iter().any(|ip| same_family(*ip, range));
        if !ranges.iter().all(of_family) || given.iter().any(|ip| !held.ips.contains(ip)) {
            let networks = Networks::ready(app).await.map_err(Refusal::Failed)?;
            for ip in given.iter().filter(|ip| !held.ips.contains(ip)) {
                check_offered(*ip, &networks)?;
                take(app, service, *ip).await?;
                taken.push(*ip);
            }
            for range in &ranges {
                if !given.iter().any(|ip| same_family(*ip, range)) {
                    let ip = take_any(app, service, &networks.of_family(range)).await?;
                    taken.push(ip);
                    given.push(ip);
                }
            }
        }
        let texts: Vec<String> = given.iter().map(ToString::to_string).collect();
        service.set_at(&["spec", "clusterIP"], texts.first().map_or("", String::as_str));
        service.set_at(&["spec", "clusterIPs"], texts.iter().map(String::as_str).collect::<Value>());
        Ok(())
    }

    /// The ranges of the families a Service asks for.
    fn families(&self, service: &Object) -> Result<Vec<IpNet>, Refusal> {
        let range_of = |family: &str| {
            self.ranges.iter().find(|range| family_name(range) == family).copied().ok_or_else(|| {
                Refusal::Field(FieldError::invalid("spec.ipFamilies[0]", family, "not configured on this cluster"))
            })
        };
        let asked = service.list_at(&["spec", "ipFamilies"]).iter().filter_map(Value::as_str);
        let mut ranges = asked.map(range_of).collect::<Result<Vec<_>, _>>()?;
        if ranges.is_empty() {
            let first: Option<IpAddr> = service.str_at(&["spec", "clusterIP"]).parse().ok();
            let by_ip = first.and_then(|ip| self.ranges.iter().find(|range| same_family(ip, range)));
            ranges.extend(by_ip.or(self.ranges.first()).copied());
        }
        let policy = service.str_at(&["spec", "ipFamilyPolicy"]);
        if matches!(policy, "PreferDualStack" | "RequireDualStack") && ranges.len() == 1 {
            ranges.extend(
                self.ranges.iter().filter(|range| !ranges.contains(range)).copied().take(1).collect::<Vec<_>>(),
            );
            if ranges.len() == 1 && policy == "RequireDualStack" {
                return Err(Refusal::Field(FieldError::invalid(
                    "spec.ipFamilyPolicy",
                    policy,
                    "this cluster is not configured for dual-stack services",
                )));
            }
        }
        Ok(ranges)
    }

    pub(super) async fn release(&self, app: &Arc<App>, ips: &[IpAddr]) {
        let Ok(store) = store(app) else { return };
        for ip in ips {
            let key = store.key("", &ip.to_string());
            let Ok(Some(found)) = store.read(&key).await else { continue };
            if let Err(error) = app.etcd.delete(&key, found.revision).await {
                tracing::warn!(%ip, %error, "a cluster IP is not given back; the next repair does it");
            }
        }
    }

    /// Takes the addresses of Services that nobody has taken.
    pub(super) async fn adopt(&self, app: &Arc<App>) {
        let networks = Networks::all(app);
        for service in services(app) {
            for ip in Holdings::of(&service).ips {
                if networks.offer(ip)
                    && app.registry.get("networking.k8s.io", "ipaddresses", "", &ip.to_string()).is_none()
                    && let Err(Refusal::Failed(error)) = take(app, &service, ip).await
                {
                    tracing::warn!(%ip, %error, "the address of a Service is not marked as taken");
                }
            }
        }
    }

    /// The addresses that are taken for Services which do not exist.
    pub(super) fn without_service(app: &App, held: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        app.registry
            .list("networking.k8s.io", "ipaddresses", "")
            .iter()
            .map(|address| address.object())
            .filter(|address| address.label(MANAGED_BY.0) == Some(MANAGED_BY.1))
            .filter_map(|address| address.name().parse().ok())
            .filter(|ip| !held.contains(ip))
            .collect()
    }
}

/// All Services the cache knows.
pub(super) fn services(app: &App) -> Vec<Object> {
    app.registry.list("", "services", "").iter().map(|service| service.object()).collect()
}

fn store(app: &App) -> Result<&Arc<Store>, Refusal> {
    app.registry
        .stored("networking.k8s.io", "ipaddresses")
        .and_then(|resource| resource.store.as_ref())
        .ok_or_else(|| Refusal::Failed(Status::internal("IP addresses are not served")))
}

/// Takes any free address of some networks.
async fn take_any(app: &App, service: &Object, networks: &[IpNet]) -> Result<IpAddr, Refusal> {
    let store = store(app)?;
    // What was taken may have been given back meanwhile: that nothing is left is said of the newest state only.
    for newest in [false, true] {
        let known = if newest {
            store.cacher.consistent().await.map_err(|error| Refusal::Failed(error::from_storage(&error)))?
        } else {
            store.cacher.snapshot()
        };
        let candidates = networks.iter().flat_map(candidates);
        for ip in candidates.filter(|ip| matches!(known.get(&store.key("", &ip.to_string())), Ok(None))) {
            match take(app, service, ip).await {
                Ok(()) => return Ok(ip),
                // Somebody was faster.
                Err(Refusal::Field(_)) => {}
                Err(failed) => return Err(failed),
            }
        }
    }
    Err(Refusal::Failed(Status::internal("failed to allocate a serviceIP: range is full")))
}

async fn take(app: &App, service: &Object, ip: IpAddr) -> Result<(), Refusal> {
    let store = store(app)?;
    match store.create(&store.key("", &ip.to_string()), &address_object(ip, service), None).await {
        Ok(_) => Ok(()),
        Err(StorageError::Exists { .. }) => Err(refused(ip, "provided IP is already allocated")),
        Err(error) => Err(Refusal::Failed(error::from_storage(&error))),
    }
}

fn check_offered(ip: IpAddr, networks: &Networks) -> Result<(), Refusal> {
    let wrong = || format!("the provided IP is not in the valid range. The range of valid IPs is {networks}");
    if networks.offer(ip) { Ok(()) } else { Err(refused(ip, &wrong())) }
}

fn refused(ip: IpAddr, why: &str) -> Refusal {
    let value = Value::from(vec![Value::from(ip.to_string())]);
    Refusal::Field(FieldError::invalid("spec.clusterIPs", value, format!("failed to allocate IP {ip}: {why}")))
}

/// The addresses a Service names itself.
fn given(service: &Object) -> Result<Vec<IpAddr>, Refusal> {
    let mut texts: Vec<&str> = service.list_at(&["spec", "clusterIPs"]).iter().filter_map(Value::as_str).collect();
    let first = service.str_at(&["spec", "clusterIP"]);
    if texts.is_empty() && !first.is_empty() {
        texts.push(first);
    }
    let parse = |(index, text): (usize, &str)| {
        text.parse().map_err(|_| {
            let wrong = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            Refusal::Field(FieldError::invalid(format!("spec.clusterIPs[{index}]"), text, wrong))
        })
    };
    texts.into_iter().filter(|text| !text.is_empty()).enumerate().map(parse).collect()
}

fn address_object(ip: IpAddr, service: &Object) -> Object {
    let mut object = Object::new("networking.k8s.io/v1", "IPAddress");
    object.set_name(&ip.to_string());
    object.set_label(MANAGED_BY.0, MANAGED_BY.1);
    object.set_label("ipaddress.kubernetes.io/ip-family", if ip.is_ipv4() { "IPv4" } else { "IPv6" });
    object.set_at(
        &["spec", "parentRef"],
        value!({
            "group": "", "resource": "services", "namespace": service.namespace(), "name": service.name(),
        }),
    );
    bootstrap::stamp(&mut object);
    object
}

fn write_families(service: &mut Object, ranges: &[IpNet]) {
    service.set_at(&["spec", "ipFamilies"], ranges.iter().map(family_name).collect::<Value>());
    if service.str_at(&["spec", "ipFamilyPolicy"]).is_empty() {
        let policy = if ranges.len() > 1 { "PreferDualStack" } else { "SingleStack" };
        service.set_at(&["spec", "ipFamilyPolicy"], policy);
    }
}
