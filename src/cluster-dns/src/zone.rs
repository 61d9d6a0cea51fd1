//! What a name means: the zone of the cluster and the one pure function that answers from it.
//!
//! Follows the Kubernetes DNS specification 1.1.0. The zone is a table of Services by namespace;
//! names are taken apart label by label, so no record exists before somebody asks for it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use hickory_proto::rr::rdata::{PTR, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use self::names::Asked;
use crate::records::Target;

mod names;

/// Seconds for which clients may keep an answer; `CoreDNS`' default for the cluster zone.
pub const TTL: u32 = 5;
/// The version of the specification that is followed.
const SPECIFICATION: &str = "1.1.0";

/// The name of a Service: namespace and name in lower case.
pub type ServiceKey = (String, String);

/// All names of the cluster.
#[derive(Debug, Clone)]
pub struct Zone {
    domain: Name,
    serial: u32,
    services: HashMap<ServiceKey, Target>,
    /// Namespaces that have at least one Service, with how many.
    namespaces: HashMap<String, usize>,
    /// Names that an address has.
    reverse: HashMap<IpAddr, BTreeSet<String>>,
}

/// A question that belongs to some zone.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The name asked for.
    pub name: &'a Name,
    /// The type asked for.
    pub kind: RecordType,
}

/// What the zone says to a question.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "an answer lives only while one packet is written")]
pub enum Answer {
    /// Records, with further ones that help to use them.
    Records {
        /// The answer.
        answers: Vec<Record>,
        /// Addresses of names in the answer.
        additionals: Vec<Record>,
    },
    /// An alias to a name outside the zone.
    Alias {
        /// The alias itself.
        record: Record,
        /// Where it leads.
        target: Name,
    },
    /// The name exists, but not with this type.
    NoData,
    /// No such name.
    NoName,
    /// The name belongs to somebody else.
    NotOurs,
}

impl Zone {
    /// An empty zone for a domain such as `cluster.local`.
    pub fn new(domain: &Name) -> Self {
        Self {
            domain: domain.to_lowercase(),
            serial: 0,
            services: HashMap::new(),
            namespaces: HashMap::new(),
            reverse: HashMap::new(),
        }
    }

    /// Sets or removes the meaning of a Service.
    pub fn set(&mut self, key: ServiceKey, target: Option<Target>) {
        if let Some(old) = self.services.remove(&key) {
            self.unlist(&key, &old);
        }
        if let Some(target) = target {
            for (ip, name) in self.reverse_names(&key, &target) {
                self.reverse.entry(ip).or_default().insert(name);
            }
            *self.namespaces.entry(key.0.clone()).or_default() += 1;
            self.services.insert(key, target);
        }
        self.serial = self.serial.wrapping_add(1);
    }

    fn unlist(&mut self, key: &ServiceKey, old: &Target) {
        for (ip, name) in self.reverse_names(key, old) {
            if let Entry::Occupied(mut names) = self.reverse.entry(ip) {
                names.get_mut().remove(&name);
                if names.get().is_empty() {
                    names.remove();
                }
            }
        }
        if let Entry::Occupied(mut count) = self.namespaces.entry(key.0.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// The names of all Services.
    pub fn services(&self) -> HashSet<ServiceKey> {
        self.services.keys().cloned().collect()
    }

    /// The record that says how long the absence of a name may be believed.
    pub fn authority(&self) -> Record {
        let (server, contact) = (self.child("ns.dns"), self.child("hostmaster"));
        let soa = SOA::new(server, contact, self.serial, 7200, 1800, 86400, TTL);
        Record::from_rdata(self.domain.clone(), TTL, RData::SOA(soa))
    }

    fn reverse_names(&self, (namespace, name): &ServiceKey, target: &Target) -> Vec<(IpAddr, String)> {
        let base = format!("{name}.{namespace}.svc.{}", self.domain);
        match target {
            Target::Cluster { ips, .. } => ips.iter().map(|ip| (*ip, base.clone())).collect(),
            Target::Headless(backends) => backends.iter().map(|b| (b.ip, format!("{}.{base}", b.label))).collect(),
            Target::External(_) => Vec::new(),
        }
    }

    fn child(&self, labels: &str) -> Name {
        let parsed = Name::from_ascii(labels).and_then(|n| n.append_domain(&self.domain));
        // A name that grows too long cannot be asked for either.
        parsed.unwrap_or_else(|_| self.domain.clone())
    }
}

/// Answers a question from the zone.
pub fn answer(zone: &Zone, question: Question<'_>) -> Answer {
    let name = question.name.to_lowercase();
    if let Some(found) = reverse(zone, &name, question) {
        return found;
    }
    if !zone.domain.zone_of(&name) {
        return Answer::NotOurs;
    }
    let Some(labels) = labels_below(&name, &zone.domain) else {
        return Answer::NoName;
    };
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let asked = Asked { zone, name: question.name, kind: question.kind };
    match labels.as_slice() {
        [] => asked.apex(),
        ["dns-version"] => asked.text(SPECIFICATION),
        ["svc" | "pod" | "dns"] => Answer::NoData,
        ["ns", "dns"] => asked.nameserver(),
        [namespace, "svc" | "pod"] if zone.namespaces.contains_key(*namespace) => Answer::NoData,
        [pod, namespace, "pod"] => asked.pod(pod, namespace),
        [service, namespace, "svc"] => asked.service(service, namespace),
        [rest @ .., service, namespace, "svc"] => asked.below_service(rest, service, namespace),
        _ => Answer::NoName,
    }
}

/// The labels in front of the domain, in lower case; `None` for labels no Kubernetes name has.
fn labels_below(name: &Name, domain: &Name) -> Option<Vec<String>> {
    let count = usize::from(name.num_labels()).checked_sub(usize::from(domain.num_labels()))?;
    name.iter().take(count).map(|l| std::str::from_utf8(l).ok().map(str::to_owned)).collect()
}

fn reverse(zone: &Zone, name: &Name, question: Question<'_>) -> Option<Answer> {
    let text = name.to_ascii();
    let ip = reverse_address(&text)?;
    // Addresses that the cluster does not know may well have a name elsewhere.
    let names = zone.reverse.get(&ip)?;
    if !matches!(question.kind, RecordType::PTR | RecordType::ANY) {
        return Some(Answer::NoData);
    }
    let targets = names.iter().filter_map(|n| Name::from_ascii(n).ok());
    let record = |target| Record::from_rdata(question.name.clone(), TTL, RData::PTR(PTR(target)));
    Some(Answer::Records { answers: targets.map(record).collect(), additionals: Vec::new() })
}

fn reverse_address(name: &str) -> Option<IpAddr> {
    let name = name.trim_end_matches('.');
    if let Some(four) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<u8> = four.rsplit('.').map(|p| p.parse().ok()).collect::<Option<_>>()?;
        return Some(IpAddr::from(<[u8; 4]>::try_from(parts).ok()?));
    }
    let six = name.strip_suffix(".ip6.arpa")?;
    let nibble = |p: &str| u8::from_str_radix(p, 16).ok().filter(|_| p.len() == 1);
    let nibbles: Vec<u8> = six.rsplit('.').map(nibble).collect::<Option<_>>()?;
    let bytes: Vec<u8> = nibbles.chunks(2).map(|c| c.iter().fold(0, |sum, n| sum << 4 | n)).collect();
    (nibbles.len() == 32).then_some(())?;
    Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?))
}

#[cfg(test)]
mod tests;
