//! The networks cluster IPs come from: those of every `ServiceCIDR` that is ready (KEP-1880).

use std::net::IpAddr;

use apimachinery::{Object, Status, Value};
use ipnet::IpNet;
use rand::RngExt;

use crate::app::App;
use crate::error;

/// The `ServiceCIDR` with the networks of the flags.
pub(super) const DEFAULT: &str = "kubernetes";
pub(super) const GROUP: &str = "networking.k8s.io";
pub(super) const PLURAL: &str = "servicecidrs";
/// How many addresses are tried by chance before they are tried in order.
const LUCKY_TRIES: usize = 32;

/// Some networks, those of the flags first.
#[derive(Debug)]
pub(super) struct Networks(Vec<IpNet>);

impl Networks {
    /// The networks that give out addresses now, whoever made or ended one a moment ago.
    pub(super) async fn ready(app: &App) -> Result<Self, Status> {
        let Some(store) = app.registry.stored(GROUP, PLURAL).and_then(|resource| resource.store.as_ref()) else {
            return Err(Status::internal("ServiceCIDRs are not served"));
        };
        let snapshot = store.cacher.consistent().await.map_err(|error| error::from_storage(&error))?;
        let range = snapshot.range(&store.prefix).map_err(|error| error::from_read(&error))?;
        let ranges: Vec<Object> = range.map(|(_, stored)| stored.object()).collect();
        Ok(Self::of(&ranges, &app.config.service.service_cluster_ip_range, is_ready))
    }

    /// All networks, those too that give out nothing any more.
    pub(super) fn all(app: &App) -> Self {
        let ranges = app.registry.list(GROUP, PLURAL, "");
        let ranges: Vec<Object> = ranges.iter().map(|range| range.object()).collect();
        Self::of(&ranges, &app.config.service.service_cluster_ip_range, |_| true)
    }

    /// What the flags say counts as long as there is no object that says otherwise: servers make it if it is gone.
    fn of(ranges: &[Object], flags: &[IpNet], wanted: impl Fn(&Object) -> bool) -> Self {
        let is_default = |range: &&Object| range.name() == DEFAULT;
        let mut networks = match ranges.iter().find(is_default) {
            Some(range) if wanted(range) => cidrs(range).collect(),
            Some(_) => Vec::new(),
            None => flags.to_vec(),
        };
        networks.extend(ranges.iter().filter(|range| !is_default(range) && wanted(range)).flat_map(cidrs));
        Self(networks)
    }

    /// The networks of the family of another one.
    pub(super) fn of_family(&self, family: &IpNet) -> Vec<IpNet> {
        self.0.iter().filter(|network| same_family(network.addr(), family)).copied().collect()
    }

    /// Whether a Service may have an address.
    pub(super) fn offer(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| usable(network, ip))
    }
}

impl std::fmt::Display for Networks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }
}

fn cidrs(range: &Object) -> impl Iterator<Item = IpNet> {
    let texts = range.list_at(&["spec", "cidrs"]).iter().filter_map(Value::as_str);
    texts.filter_map(|text| text.parse::<IpNet>().ok()).map(|network| network.trunc())
}

/// One that nobody has judged yet is ready: there need not be a controller.
fn is_ready(range: &Object) -> bool {
    let mut conditions = range.list_at(&["status", "conditions"]).iter();
    let ready = conditions.find(|condition| condition.str("type") == "Ready");
    range.deletion_timestamp().is_none() && ready.is_none_or(|ready| ready.str("status") == "True")
}

/// The addresses of a network in the order in which they are tried: the first ones are left to Services that name their
/// own, such as DNS, until there are no others.
pub(super) fn candidates(network: &IpNet) -> impl Iterator<Item = IpAddr> + Send + use<> {
    let (network, size) = (*network, size(network));
    let reserved = (size / 16).clamp(16.min(size / 2), 256).max(1);
    let tries = if reserved < size { LUCKY_TRIES } else { 0 };
    let lucky: Vec<u64> = (0..tries).map(|_| rand::rng().random_range(reserved..size)).collect();
    let offsets = lucky.into_iter().chain(reserved..size).chain(1..reserved.min(size));
    offsets.map(move |offset| nth(&network, offset))
}

/// `IPv4` or `IPv6`.
pub(super) fn family_name(network: &IpNet) -> &'static str {
    if matches!(network, IpNet::V4(_)) { "IPv4" } else { "IPv6" }
}

/// Whether an address is of the family of a network.
pub(super) fn same_family(ip: IpAddr, network: &IpNet) -> bool {
    ip.is_ipv4() == matches!(network, IpNet::V4(_))
}

/// How many offsets a network has; the first and (in IPv4) the last address are never handed out.
fn size(network: &IpNet) -> u64 {
    let bits = u32::from(network.max_prefix_len() - network.prefix_len()).min(20);
    (1u64 << bits) - u64::from(matches!(network, IpNet::V4(_)))
}

/// The address at an offset.
pub(super) fn nth(network: &IpNet, offset: u64) -> IpAddr {
    match network {
        IpNet::V4(network) => {
            let base = u32::from(network.network());
            IpAddr::V4(base.wrapping_add(u32::try_from(offset).unwrap_or(0)).into())
        }
        IpNet::V6(network) => IpAddr::V6(u128::from(network.network()).wrapping_add(u128::from(offset)).into()),
    }
}

fn usable(network: &IpNet, ip: IpAddr) -> bool {
    network.contains(&ip) && ip != network.network() && (ip.is_ipv6() || ip != network.broadcast())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use apimachinery::value;

    use super::*;

    #[test]
    fn network_and_broadcast_are_never_used() {
        let network: IpNet = "10.96.0.0/28".parse().unwrap();
        assert_eq!(size(&network), 15);
        assert_eq!(nth(&network, 1).to_string(), "10.96.0.1");
        assert!(!usable(&network, "10.96.0.0".parse().unwrap()));
        assert!(!usable(&network, "10.96.0.15".parse().unwrap()));
        assert!(usable(&network, nth(&network, 14)));
        assert!(!usable(&network, "10.96.0.16".parse().unwrap()));
    }

    #[test]
    fn every_usable_address_of_a_network_is_tried_however_small_it_is() {
        for (network, count) in [
            ("10.96.0.0/32", 0),
            ("10.96.0.0/31", 0),
            ("10.96.0.0/30", 2),
            ("10.96.0.0/24", 254),
            ("fd00::/128", 0),
            ("fd00::/127", 1),
            ("fd00::/120", 255),
        ] {
            let network: IpNet = network.parse().unwrap();
            let tried: BTreeSet<IpAddr> = candidates(&network).collect();
            assert_eq!(tried.len(), count, "{network}");
            assert!(tried.iter().all(|ip| usable(&network, *ip)), "{network}");
        }
        let first_half: Vec<IpAddr> = candidates(&"10.96.0.0/24".parse().unwrap()).take(100).collect();
        assert!(!first_half.contains(&"10.96.0.10".parse().unwrap()), "low ones are for those who name them");
    }

    fn range(name: &str, cidrs: &[&str], ready: &str) -> Object {
        let cidrs: Value = cidrs.iter().copied().collect();
        let mut range = Object::try_from(value!({"metadata": {"name": name}, "spec": {"cidrs": (cidrs)}})).unwrap();
        if !ready.is_empty() {
            range.set_at(&["status", "conditions"], value!([{"type": "Ready", "status": ready}]));
        }
        range
    }

    fn check(ranges: &[Object], expected: &str) {
        assert_eq!(Networks::of(ranges, &["10.96.0.0/24".parse().unwrap()], is_ready).to_string(), expected);
    }

    #[test]
    fn all_networks_that_are_ready_give_addresses_and_those_of_the_flags_first() {
        let default = || range("kubernetes", &["10.96.0.0/24", "fd00::/112"], "True");
        check(&[], "10.96.0.0/24");
        check(&[range("a", &["10.97.0.0/24"], "")], "10.96.0.0/24,10.97.0.0/24");
        check(&[range("a", &["10.97.0.0/24"], ""), default()], "10.96.0.0/24,fd00::/112,10.97.0.0/24");
        check(&[range("a", &["10.97.0.0/24"], "False"), default()], "10.96.0.0/24,fd00::/112");
        check(&[range("kubernetes", &["10.96.0.0/24"], "False")], "");
        let mut ending = range("a", &["10.97.0.0/24"], "True");
        ending.set_deletion_timestamp("2026-01-01T00:00:00Z");
        check(&[ending, default()], "10.96.0.0/24,fd00::/112");
    }
}
