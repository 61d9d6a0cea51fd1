//! The table as a whole: who contributes what, and the text that turns one state into the next.
//!
//! Pure. [`Table::change`] replaces the contribution of some services and returns the smallest
//! transaction for it; [`Table::full`] writes everything, for the start and after a failure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use netfilter::Family;

use crate::rules::{Collection, ElementKey, Fragment};
use crate::service::ServiceName;

/// The name of the table in each family.
pub const TABLE: &str = "kube-proxy";
/// How many elements one nft command carries.
const BATCH: usize = 200;

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
    claims: HashMap<ElementKey, BTreeMap<Owner, Option<String>>>,
}

impl Table {
    /// An empty table; `mark` is the packet mark that asks for masquerading.
    pub fn new(family: Family, mark: u32) -> Self {
        Self {
            family,
            mark,
            fragments: HashMap::new(),
            claims: HashMap::new(),
        }
    }

    /// Whether no Service contributes anything.
    pub fn is_unused(&self) -> bool {
        self.fragments
            .iter()
            .all(|(owner, fragment)| *owner == Owner::Node || *fragment == Fragment::default())
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
        let changes: BTreeMap<Owner, Fragment> = changes
            .into_iter()
            .map(|(owner, fragment)| (owner, fragment.unwrap_or_default()))
            .collect();
        let mut steps = Steps::default();
        let mut touched: BTreeMap<ElementKey, Option<Option<String>>> = BTreeMap::new();
        for (owner, new) in changes {
            let old = self.fragments.remove(&owner).unwrap_or_default();
            if old != new {
                steps.compare(&old, &new);
                for key in old.elements.keys().chain(new.elements.keys()) {
                    touched
                        .entry(key.clone())
                        .or_insert_with(|| effective(&self.claims, key));
                }
                self.claim(&owner, &old, &new);
            }
            if new != Fragment::default() {
                self.fragments.insert(owner, new);
            }
        }
        for (key, before) in touched {
            steps.element(&key, before, effective(&self.claims, &key));
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
            self.claims
                .entry(key.clone())
                .or_default()
                .insert(owner.clone(), verdict.clone());
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
                let rows: Vec<String> = chunk
                    .iter()
                    .map(|(ip, left)| format!("{ip} expires {left}s"))
                    .collect();
                line(
                    &mut text,
                    format_args!(
                        "add element {family} {TABLE} {set} {{ {} }}",
                        rows.join(", ")
                    ),
                );
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
        let address = if family == Family::Ip {
            "ipv4_addr"
        } else {
            "ipv6_addr"
        };
        line(
            text,
            format_args!("add table {family} {TABLE} {{ comment \"rules for kube-proxy\" ; }}"),
        );
        for set in [Collection::ClusterIps, Collection::NodePortIps] {
            line(
                text,
                format_args!(
                    "add set {family} {TABLE} {} {{ type {address} ; }}",
                    set.name()
                ),
            );
        }
        let by_address = format!("{address} . inet_proto . inet_service");
        for (map, key) in [
            (Collection::Firewall, by_address.as_str()),
            (Collection::NoEndpointServices, &by_address),
            (Collection::NoEndpointNodePorts, "inet_proto . inet_service"),
            (Collection::ServiceIps, &by_address),
            (Collection::ServiceNodePorts, "inet_proto . inet_service"),
        ] {
            line(
                text,
                format_args!(
                    "add map {family} {TABLE} {} {{ type {key} : verdict ; }}",
                    map.name()
                ),
            );
        }
        for (chain, hook) in BASE_CHAINS {
            let hook = if hook.is_empty() {
                String::new()
            } else {
                format!(" {{ type {hook} ; }}")
            };
            line(
                text,
                format_args!("add chain {family} {TABLE} {chain}{hook}"),
            );
        }
        for (chain, rule) in BASE_RULES {
            let rule = rule
                .replace("FAMILY", &family.to_string())
                .replace("MARK", &format!("{mark:#x}"));
            line(
                text,
                format_args!("add rule {family} {TABLE} {chain} {rule}"),
            );
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
    (
        "firewall-check",
        "FAMILY daddr . meta l4proto . th dport vmap @firewall-ips",
    ),
    (
        "cluster-ips-check",
        "FAMILY daddr @cluster-ips reject comment \"no such port on this cluster address\"",
    ),
    (
        "service-endpoints-check",
        "FAMILY daddr . meta l4proto . th dport vmap @no-endpoint-services",
    ),
    (
        "nodeport-endpoints-check",
        "FAMILY daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports",
    ),
    (
        "services",
        "FAMILY daddr . meta l4proto . th dport vmap @service-ips",
    ),
    (
        "services",
        "FAMILY daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports",
    ),
    ("filter-prerouting", "ct state new jump firewall-check"),
    ("filter-input", "ct state new jump nodeport-endpoints-check"),
    ("filter-input", "ct state new jump service-endpoints-check"),
    (
        "filter-forward",
        "ct state new jump service-endpoints-check",
    ),
    ("filter-forward", "ct state new jump cluster-ips-check"),
    ("filter-output", "ct state new jump service-endpoints-check"),
    ("filter-output", "ct state new jump firewall-check"),
    (
        "filter-output-post-dnat",
        "ct state new jump cluster-ips-check",
    ),
    ("nat-prerouting", "jump services"),
    ("nat-output", "jump services"),
    ("nat-postrouting", "jump masquerading"),
];

fn effective(
    claims: &HashMap<ElementKey, BTreeMap<Owner, Option<String>>>,
    key: &ElementKey,
) -> Option<Option<String>> {
    claims.get(key)?.values().next().cloned()
}

/// The commands of one transaction, sorted into an order in which each finds what it refers to.
#[derive(Default)]
struct Steps {
    new_sets: BTreeMap<String, u32>,
    new_chains: BTreeMap<String, Vec<String>>,
    changed_chains: BTreeMap<String, Vec<String>>,
    removed_elements: BTreeMap<Collection, Vec<String>>,
    new_elements: BTreeMap<Collection, Vec<String>>,
    removed_chains: BTreeSet<String>,
    removed_sets: BTreeSet<String>,
}

impl Steps {
    fn compare(&mut self, old: &Fragment, new: &Fragment) {
        for (chain, rules) in &new.chains {
            match old.chains.get(chain) {
                Some(before) if before == rules => {}
                Some(_) => drop(self.changed_chains.insert(chain.clone(), rules.clone())),
                None => drop(self.new_chains.insert(chain.clone(), rules.clone())),
            }
        }
        let gone = |name: &&String| !new.chains.contains_key(*name);
        self.removed_chains
            .extend(old.chains.keys().filter(gone).cloned());
        let fresh = |(name, _): &(&String, &u32)| !old.affinity_sets.contains_key(*name);
        self.new_sets.extend(
            new.affinity_sets
                .iter()
                .filter(fresh)
                .map(|(n, t)| (n.clone(), *t)),
        );
        let gone = |name: &&String| !new.affinity_sets.contains_key(*name);
        self.removed_sets
            .extend(old.affinity_sets.keys().filter(gone).cloned());
    }

    fn element(
        &mut self,
        key: &ElementKey,
        before: Option<Option<String>>,
        after: Option<Option<String>>,
    ) {
        if before == after {
            return;
        }
        if before.is_some() {
            self.removed_elements
                .entry(key.collection)
                .or_default()
                .push(key.key.clone());
        }
        if let Some(verdict) = after {
            let text = verdict.map_or_else(|| key.key.clone(), |v| format!("{} : {v}", key.key));
            self.new_elements
                .entry(key.collection)
                .or_default()
                .push(text);
        }
    }

    fn write(&self, family: Family, text: &mut String) {
        let address = if family == Family::Ip {
            "ipv4_addr"
        } else {
            "ipv6_addr"
        };
        let at = format!("{family} {TABLE}");
        for (set, seconds) in &self.new_sets {
            line(
                text,
                format_args!(
                    "add set {at} {set} {{ type {address} ; flags dynamic,timeout ; timeout {seconds}s ; }}"
                ),
            );
        }
        for chain in self.new_chains.keys() {
            line(text, format_args!("add chain {at} {chain}"));
        }
        for chain in self.changed_chains.keys() {
            line(text, format_args!("flush chain {at} {chain}"));
        }
        for (chain, rules) in self.new_chains.iter().chain(&self.changed_chains) {
            for rule in rules {
                line(text, format_args!("add rule {at} {chain} {rule}"));
            }
        }
        for (verb, elements) in [
            ("delete", &self.removed_elements),
            ("add", &self.new_elements),
        ] {
            for (collection, rows) in elements {
                for chunk in rows.chunks(BATCH) {
                    let (name, rows) = (collection.name(), chunk.join(", "));
                    line(
                        text,
                        format_args!("{verb} element {at} {name} {{ {rows} }}"),
                    );
                }
            }
        }
        for verb in ["flush", "delete"] {
            for chain in &self.removed_chains {
                line(text, format_args!("{verb} chain {at} {chain}"));
            }
        }
        for set in &self.removed_sets {
            line(text, format_args!("delete set {at} {set}"));
        }
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(arguments);
    text.push('\n');
}

/// The clients that the affinity sets of a listed table remember, from nft's JSON.
pub fn remembered(json: &str) -> Remembered {
    let Ok(root) = serde_json::from_str::<serde_json::Value>(json) else {
        return Remembered::new();
    };
    let rows = root["nftables"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let sets = rows.iter().filter_map(|row| row.get("set"));
    sets.filter_map(|set| {
        let name = set["name"]
            .as_str()
            .filter(|n| n.starts_with("affinity-"))?;
        let clients: Vec<(String, u64)> =
            set["elem"].as_array()?.iter().filter_map(client).collect();
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
