//! The table as a whole: who contributes what, and the text that turns one state into the next.
//!
//! Pure. [`Table::change`] replaces the contribution of some services and returns the smallest
//! transaction for it; [`Table::full`] writes everything, for the start and after a failure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use netfilter::Family;

use crate::fragment::{Collection, ElementKey, Fragment, Verdict};
use crate::service::ServiceName;
use crate::transaction::{BATCH, Steps, line};

/// The name of the table in each family.
pub const TABLE: &str = "kube-proxy";

/// A contributor: the node, or a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The node itself.
    Node,
    /// A Service.
    Service(ServiceName),
}

/// Clients that a set remembers: their address and the seconds they have left.
pub type Remembered = BTreeMap<String, Vec<(String, u64)>>;

/// The contents of the table of one family.
#[derive(Debug)]
pub struct Table {
    family: Family,
    mark: u32,
    fragments: HashMap<Owner, Fragment>,
    /// Claims on each element. Two services may claim the same external address and port; the
    /// first in order of name has it, and the next takes over when that one goes.
    claims: HashMap<ElementKey, BTreeMap<Owner, Verdict>>,
}

impl Table {
    /// An empty table; `mark` is the packet mark that asks for masquerading.
    pub fn new(family: Family, mark: u32) -> Self {
        Self { family, mark, fragments: HashMap::new(), claims: HashMap::new() }
    }

    /// Whether no Service contributes anything.
    pub fn is_unused(&self) -> bool {
        self.fragments.iter().all(|(owner, fragment)| *owner == Owner::Node || *fragment == Fragment::default())
    }

    /// What an owner contributes now.
    pub fn fragment(&self, owner: &Owner) -> Option<&Fragment> {
        self.fragments.get(owner)
    }

    /// The services that contribute.
    pub fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.fragments.keys().filter_map(|owner| match owner {
            Owner::Node => None,
            Owner::Service(name) => Some(name),
        })
    }

    /// Replaces contributions (`None`: takes one away) and writes the transaction; empty if nothing changes.
    pub fn change(&mut self, changes: Vec<(Owner, Option<Fragment>)>) -> String {
        let changes: BTreeMap<Owner, Fragment> =
            changes.into_iter().map(|(owner, fragment)| (owner, fragment.unwrap_or_default())).collect();
        let mut steps = Steps::default();
        let mut touched: BTreeMap<ElementKey, Option<Verdict>> = BTreeMap::new();
        for (owner, new) in changes {
            let old = self.fragments.remove(&owner).unwrap_or_default();
            if old != new {
                steps.compare(&old, &new);
                for key in old.elements.keys().chain(new.elements.keys()) {
                    touched.entry(key.clone()).or_insert_with(|| effective(&self.claims, key));
                }
                self.claim(&owner, &old, &new);
            }
            if new != Fragment::default() {
                self.fragments.insert(owner, new);
            }
        }
        for (key, before) in touched {
            steps.element(&key, before.as_ref(), effective(&self.claims, &key));
        }
        let mut text = String::new();
        steps.write(self.family, &mut text);
        text
    }

    fn claim(&mut self, owner: &Owner, old: &Fragment, new: &Fragment) {
        for key in old.elements.keys() {
            if let Some(claims) = self.claims.get_mut(key) {
                claims.remove(owner);
                if claims.is_empty() {
                    self.claims.remove(key);
                }
            }
        }
        for (key, verdict) in &new.elements {
            self.claims.entry(key.clone()).or_default().insert(owner.clone(), verdict.clone());
        }
    }

    /// One transaction that puts the whole table in place of whatever is there.
    ///
    /// Connections go on, because their translation lives in connection tracking; clients with
    /// affinity keep their endpoint through `remembered`.
    pub fn full(&self, remembered: &Remembered) -> String {
        let (family, mut text) = (self.family, String::new());
        // Adding first makes the deletion safe where there is no table yet.
        line(&mut text, format_args!("add table {family} {TABLE}"));
        line(&mut text, format_args!("delete table {family} {TABLE}"));
        self.write_base(&mut text);
        let mut steps = Steps::default();
        let owners: BTreeMap<&Owner, &Fragment> = self.fragments.iter().collect();
        for fragment in owners.into_values() {
            steps.compare(&Fragment::default(), fragment);
        }
        let keys: BTreeSet<&ElementKey> = self.claims.keys().collect();
        for key in keys {
            steps.element(key, None, effective(&self.claims, key));
        }
        let sets: BTreeSet<String> = steps.new_sets.keys().cloned().collect();
        steps.write(family, &mut text);
        for (set, clients) in remembered.iter().filter(|(set, _)| sets.contains(*set)) {
            for chunk in clients.chunks(BATCH) {
                let rows: Vec<String> = chunk.iter().map(|(ip, left)| format!("{ip} expires {left}s")).collect();
                line(&mut text, format_args!("add element {family} {TABLE} {set} {{ {} }}", rows.join(", ")));
            }
        }
        text
    }

    /// One transaction after which there is no table.
    pub fn removal(family: Family) -> String {
        format!("add table {family} {TABLE}\ndelete table {family} {TABLE}\n")
    }

    fn write_base(&self, text: &mut String) {
        let (family, mark) = (self.family, self.mark);
        let address = if family == Family::Ip { "ipv4_addr" } else { "ipv6_addr" };
        line(text, format_args!("add table {family} {TABLE} {{ comment \"rules for kube-proxy\" ; }}"));
        for set in [Collection::ClusterIps, Collection::NodePortIps] {
            line(text, format_args!("add set {family} {TABLE} {} {{ type {address} ; }}", set.name()));
        }
        let by_address = format!("{address} . inet_proto . inet_service");
        for (map, key) in [
            (Collection::Firewall, by_address.as_str()),
            (Collection::NoEndpointServices, &by_address),
            (Collection::NoEndpointNodePorts, "inet_proto . inet_service"),
            (Collection::ServiceIps, &by_address),
            (Collection::ServiceNodePorts, "inet_proto . inet_service"),
        ] {
            line(text, format_args!("add map {family} {TABLE} {} {{ type {key} : verdict ; }}", map.name()));
        }
        for (chain, hook) in BASE_CHAINS {
            let hook = if hook.is_empty() { String::new() } else { format!(" {{ type {hook} ; }}") };
            line(text, format_args!("add chain {family} {TABLE} {chain}{hook}"));
        }
        for (chain, rule) in BASE_RULES {
            let rule = rule.replace("FAMILY", &family.to_string()).replace("MARK", &format!("{mark:#x}"));
            line(text, format_args!("add rule {family} {TABLE} {chain} {rule}"));
        }
    }
}

/// Chains that every table has, with the hook of those the kernel enters by itself.
const BASE_CHAINS: [(&str, &str); 16] = [
    ("mark-for-masquerade", ""),
    ("masquerading", ""),
    ("reject-chain", ""),
    ("firewall-check", ""),
    ("cluster-ips-check", ""),
    ("service-endpoints-check", ""),
    ("nodeport-endpoints-check", ""),
    ("services", ""),
    // Before translation: who may come in at all, and what has nobody to answer it.
    ("filter-prerouting", "filter hook prerouting priority -110"),
    ("filter-input", "filter hook input priority -110"),
    ("filter-forward", "filter hook forward priority -110"),
    ("filter-output", "filter hook output priority -110"),
    // After translation of the node's own traffic.
    ("filter-output-post-dnat", "filter hook output priority -90"),
    ("nat-prerouting", "nat hook prerouting priority -100"),
    ("nat-output", "nat hook output priority -100"),
    ("nat-postrouting", "nat hook postrouting priority 100"),
];

/// The rules of those chains, in order.
const BASE_RULES: [(&str, &str); 22] = [
    ("mark-for-masquerade", "meta mark set meta mark or MARK"),
    ("masquerading", "meta mark and MARK == 0 return"),
    // The mark must not be seen again when the packet passes another interface of this host.
    ("masquerading", "meta mark set meta mark xor MARK"),
    ("masquerading", "masquerade fully-random"),
    ("reject-chain", "reject"),
    ("firewall-check", "FAMILY daddr . meta l4proto . th dport vmap @firewall-ips"),
    ("cluster-ips-check", "FAMILY daddr @cluster-ips reject comment \"no such port on this cluster address\""),
    ("service-endpoints-check", "FAMILY daddr . meta l4proto . th dport vmap @no-endpoint-services"),
    ("nodeport-endpoints-check", "FAMILY daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports"),
    ("services", "FAMILY daddr . meta l4proto . th dport vmap @service-ips"),
    ("services", "FAMILY daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports"),
    ("filter-prerouting", "ct state new jump firewall-check"),
    ("filter-input", "ct state new jump nodeport-endpoints-check"),
    ("filter-input", "ct state new jump service-endpoints-check"),
    ("filter-forward", "ct state new jump service-endpoints-check"),
    ("filter-forward", "ct state new jump cluster-ips-check"),
    ("filter-output", "ct state new jump service-endpoints-check"),
    ("filter-output", "ct state new jump firewall-check"),
    ("filter-output-post-dnat", "ct state new jump cluster-ips-check"),
    ("nat-prerouting", "jump services"),
    ("nat-output", "jump services"),
    ("nat-postrouting", "jump masquerading"),
];

fn effective(claims: &HashMap<ElementKey, BTreeMap<Owner, Verdict>>, key: &ElementKey) -> Option<Verdict> {
    claims.get(key)?.values().next().cloned()
}

/// The clients that the affinity sets of a listed table remember, from nft's JSON.
pub fn remembered(json: &str) -> Remembered {
    let Ok(root) = serde_json::from_str::<serde_json::Value>(json) else {
        return Remembered::new();
    };
    let rows = root["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sets = rows.iter().filter_map(|row| row.get("set"));
    sets.filter_map(|set| {
        let name = set["name"].as_str().filter(|n| n.starts_with("affinity-"))?;
        let clients: Vec<(String, u64)> = set["elem"].as_array()?.iter().filter_map(client).collect();
        (!clients.is_empty()).then(|| (name.to_owned(), clients))
    })
    .collect()
}

fn client(element: &serde_json::Value) -> Option<(String, u64)> {
    let element = &element["elem"];
    let ip: std::net::IpAddr = element["val"].as_str()?.parse().ok()?;
    let left = element["expires"].as_u64().filter(|left| *left > 0)?;
    Some((ip.to_string(), left))
}

#[cfg(test)]
mod tests;
