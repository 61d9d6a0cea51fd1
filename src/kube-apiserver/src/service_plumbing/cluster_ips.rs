//! Cluster IPs: each one in use is an `IPAddress` object, whose name is the lock on it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use apimachinery::field::FieldError;
use apimachinery::{Object, Status, Value, value};
use ipnet::IpNet;
use rand::RngExt;
use storage::StorageError;

use super::{Holdings, Refusal, bootstrap, type_of};
use crate::app::App;
use crate::error;
use crate::registry::Store;

/// How many addresses are tried by chance before they are tried in order.
const LUCKY_TRIES: usize = 32;

pub(super) struct ClusterIps {
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
        let mut given = self.given(service)?;
        for range in &ranges {
            if !given.iter().any(|ip| same_family(*ip, range)) {
                let ip = self.take_any(app, service, range, taken).await?;
                given.push(ip);
            }
        }
        for ip in &given {
            if !held.ips.contains(ip) && !taken.contains(ip) {
                self.take(app, service, *ip, taken).await?;
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

    /// The addresses a Service names itself.
    fn given(&self, service: &Object) -> Result<Vec<IpAddr>, Refusal> {
        let mut texts: Vec<&str> = service.list_at(&["spec", "clusterIPs"]).iter().filter_map(Value::as_str).collect();
        let first = service.str_at(&["spec", "clusterIP"]);
        if texts.is_empty() && !first.is_empty() {
            texts.push(first);
        }
        let mut given = Vec::new();
        for (index, text) in texts.into_iter().filter(|text| !text.is_empty()).enumerate() {
            let path = format!("spec.clusterIPs[{index}]");
            let ip: IpAddr = text.parse().map_err(|_| {
                Refusal::Field(FieldError::invalid(
                    path.clone(),
                    text,
                    "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                ))
            })?;
            if !self.ranges.iter().any(|range| usable(range, ip)) {
                let ranges: Vec<String> = self.ranges.iter().map(ToString::to_string).collect();
                return Err(Refusal::Field(FieldError::invalid(
                    "spec.clusterIPs",
                    Value::from(vec![Value::from(text)]),
                    format!(
                        "failed to allocate IP {ip}: the provided IP is not in the valid range. The range of \
                         valid IPs is {}",
                        ranges.join(",")
                    ),
                )));
            }
            given.push(ip);
        }
        Ok(given)
    }

    async fn take_any(
        &self,
        app: &Arc<App>,
        service: &Object,
        range: &IpNet,
        taken: &mut Vec<IpAddr>,
    ) -> Result<IpAddr, Refusal> {
        let size = size(range);
        // The first addresses are left to Services that name one, such as DNS.
        let reserved = (size / 16).clamp(16.min(size / 2), 256);
        for _ in 0..LUCKY_TRIES {
            let offset = rand::rng().random_range(reserved..size);
            if let Some(ip) = self.try_take(app, service, nth(range, offset)).await? {
                taken.push(ip);
                return Ok(ip);
            }
        }
        for offset in (reserved..size).chain(1..reserved) {
            if let Some(ip) = self.try_take(app, service, nth(range, offset)).await? {
                taken.push(ip);
                return Ok(ip);
            }
        }
        Err(Refusal::Failed(Status::internal("failed to allocate a serviceIP: range is full")))
    }

    async fn try_take(&self, app: &Arc<App>, service: &Object, ip: IpAddr) -> Result<Option<IpAddr>, Refusal> {
        let mut taken = Vec::new();
        match self.take(app, service, ip, &mut taken).await {
            Ok(()) => Ok(Some(ip)),
            Err(Refusal::Field(_)) => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    async fn take(&self, app: &Arc<App>, service: &Object, ip: IpAddr, taken: &mut Vec<IpAddr>) -> Result<(), Refusal> {
        let store = store(app)?;
        let object = address_object(ip, service);
        match store.create(&store.key("", &ip.to_string()), &object, None).await {
            Ok(_) => {
                taken.push(ip);
                Ok(())
            }
            Err(StorageError::Exists { .. }) => Err(Refusal::Field(FieldError::invalid(
                "spec.clusterIPs",
                Value::from(vec![Value::from(ip.to_string())]),
                format!("failed to allocate IP {ip}: provided IP is already allocated"),
            ))),
            Err(error) => Err(Refusal::Failed(error::from_storage(&error))),
        }
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
        for service in services(app) {
            for ip in Holdings::of(&service).ips {
                if self.ranges.iter().any(|range| usable(range, ip))
                    && app.registry.get("networking.k8s.io", "ipaddresses", "", &ip.to_string()).is_none()
                    && let Err(Refusal::Failed(error)) = self.take(app, &service, ip, &mut Vec::new()).await
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
            .filter(|address| address.str_at(&["spec", "parentRef", "resource"]) == "services")
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

fn address_object(ip: IpAddr, service: &Object) -> Object {
    let mut object = Object::new("networking.k8s.io/v1", "IPAddress");
    object.set_name(&ip.to_string());
    object.set_label("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");
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

fn family_name(range: &IpNet) -> &'static str {
    if matches!(range, IpNet::V4(_)) { "IPv4" } else { "IPv6" }
}

fn same_family(ip: IpAddr, range: &IpNet) -> bool {
    ip.is_ipv4() == matches!(range, IpNet::V4(_))
}

/// How many offsets a range has; the first and (in IPv4) the last address are never handed out.
fn size(range: &IpNet) -> u64 {
    let bits = u32::from(range.max_prefix_len() - range.prefix_len()).min(20);
    (1u64 << bits) - u64::from(matches!(range, IpNet::V4(_)))
}

/// The address at an offset.
pub(super) fn nth(range: &IpNet, offset: u64) -> IpAddr {
    match range {
        IpNet::V4(range) => {
            let base = u32::from(range.network());
            IpAddr::V4(base.wrapping_add(u32::try_from(offset).unwrap_or(0)).into())
        }
        IpNet::V6(range) => IpAddr::V6(u128::from(range.network()).wrapping_add(u128::from(offset)).into()),
    }
}

fn usable(range: &IpNet, ip: IpAddr) -> bool {
    range.contains(&ip) && ip != range.network() && (ip.is_ipv6() || ip != range.broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_and_broadcast_are_never_used() {
        let range: IpNet = "10.96.0.0/28".parse().unwrap();
        assert_eq!(size(&range), 15);
        assert_eq!(nth(&range, 1).to_string(), "10.96.0.1");
        assert!(!usable(&range, "10.96.0.0".parse().unwrap()));
        assert!(!usable(&range, "10.96.0.15".parse().unwrap()));
        assert!(usable(&range, nth(&range, 14)));
        assert!(!usable(&range, "10.96.0.16".parse().unwrap()));
    }
}
