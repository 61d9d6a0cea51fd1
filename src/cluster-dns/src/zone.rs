//! What a name means: the zone of the cluster and the one pure function that answers from it.
//!
//! Follows the Kubernetes DNS specification 1.1.0. The zone is a table of Services by namespace;
//! names are taken apart label by label, so no record exists before somebody asks for it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use hickory_proto::rr::rdata::{CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::records::{Backend, Port, Target, label_address};

/// Seconds for which clients may keep an answer; CoreDNS' default for the cluster zone.
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
    pub fn new(domain: Name) -> Self {
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
            for (ip, name) in self.reverse_names(&key, &old) {
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
        if let Some(target) = target {
            for (ip, name) in self.reverse_names(&key, &target) {
                self.reverse.entry(ip).or_default().insert(name);
            }
            *self.namespaces.entry(key.0.clone()).or_default() += 1;
            self.services.insert(key, target);
        }
        self.serial = self.serial.wrapping_add(1);
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

    fn reverse_names(
        &self,
        (namespace, name): &ServiceKey,
        target: &Target,
    ) -> Vec<(IpAddr, String)> {
        let base = format!("{name}.{namespace}.svc.{}", self.domain);
        match target {
            Target::Cluster { ips, .. } => ips.iter().map(|ip| (*ip, base.clone())).collect(),
            Target::Headless(backends) => backends
                .iter()
                .map(|b| (b.ip, format!("{}.{base}", b.label)))
                .collect(),
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
    let asked = Asked {
        zone,
        name: question.name,
        kind: question.kind,
    };
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
    name.iter()
        .take(count)
        .map(|l| std::str::from_utf8(l).ok().map(str::to_owned))
        .collect()
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
    Some(Answer::Records {
        answers: targets.map(record).collect(),
        additionals: Vec::new(),
    })
}

fn reverse_address(name: &str) -> Option<IpAddr> {
    let name = name.trim_end_matches('.');
    if let Some(four) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<u8> = four
            .rsplit('.')
            .map(|p| p.parse().ok())
            .collect::<Option<_>>()?;
        return Some(IpAddr::from(<[u8; 4]>::try_from(parts).ok()?));
    }
    let six = name.strip_suffix(".ip6.arpa")?;
    let nibble = |p: &str| u8::from_str_radix(p, 16).ok().filter(|_| p.len() == 1);
    let nibbles: Vec<u8> = six.rsplit('.').map(nibble).collect::<Option<_>>()?;
    let bytes: Vec<u8> = nibbles
        .chunks(2)
        .map(|c| c.iter().fold(0, |sum, n| sum << 4 | n))
        .collect();
    (nibbles.len() == 32).then_some(())?;
    Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?))
}

/// One question, and how each sort of name answers it.
struct Asked<'a> {
    zone: &'a Zone,
    name: &'a Name,
    kind: RecordType,
}

impl Asked<'_> {
    fn apex(&self) -> Answer {
        match self.kind {
            RecordType::SOA => only(self.zone.authority()),
            RecordType::NS => only(self.record(RData::NS(NS(self.zone.child("ns.dns"))))),
            _ => Answer::NoData,
        }
    }

    /// The name of this server: the address of the DNS Service where the zone has it.
    fn nameserver(&self) -> Answer {
        match self
            .zone
            .services
            .get(&("kube-system".to_owned(), "kube-dns".to_owned()))
        {
            Some(Target::Cluster { ips, .. }) => self.addresses(ips.iter().copied()),
            _ => Answer::NoData,
        }
    }

    fn text(&self, text: &str) -> Answer {
        if matches!(self.kind, RecordType::TXT | RecordType::ANY) {
            return only(self.record(RData::TXT(TXT::new(vec![text.to_owned()]))));
        }
        Answer::NoData
    }

    fn pod(&self, label: &str, namespace: &str) -> Answer {
        match label_address(label) {
            Some(ip) if self.zone.namespaces.contains_key(namespace) => self.addresses([ip]),
            _ => Answer::NoName,
        }
    }

    fn target(&self, service: &str, namespace: &str) -> Option<&Target> {
        self.zone
            .services
            .get(&(namespace.to_owned(), service.to_owned()))
    }

    fn service(&self, service: &str, namespace: &str) -> Answer {
        match self.target(service, namespace) {
            None => Answer::NoName,
            Some(Target::External(target)) => self.alias(target),
            Some(Target::Cluster { ips, ports, .. }) if self.kind == RecordType::SRV => {
                self.ports_of_service(ports, ips, None)
            }
            Some(Target::Cluster { ips, .. }) => self.addresses(ips.iter().copied()),
            // Nothing is ready: the specification wants no such name rather than no data.
            Some(Target::Headless(backends)) if backends.is_empty() => Answer::NoName,
            Some(Target::Headless(backends)) if self.kind == RecordType::SRV => {
                self.ports_of_backends(backends.iter(), (service, namespace), None)
            }
            Some(Target::Headless(backends)) => self.addresses(backends.iter().map(|b| b.ip)),
        }
    }

    /// `_port._protocol.service…`, `_protocol.service…` and `hostname.service…`.
    fn below_service(&self, rest: &[&str], service: &str, namespace: &str) -> Answer {
        let Some(target) = self.target(service, namespace) else {
            return Answer::NoName;
        };
        let backends = match target {
            Target::Cluster { backends, .. } | Target::Headless(backends) => backends,
            Target::External(_) => return Answer::NoName,
        };
        match rest {
            [protocol] if protocol.starts_with('_') => {
                self.exists(target, |p| is(&p.protocol, protocol))
            }
            [port, protocol] if port.starts_with('_') && protocol.starts_with('_') => {
                let wanted = |p: &Port| is(&p.name, port) && is(&p.protocol, protocol);
                let found = self.exists(target, wanted);
                if found != Answer::NoData || self.kind != RecordType::SRV {
                    return found;
                }
                match target {
                    Target::Cluster { ips, ports, .. } => {
                        self.ports_of_service(ports, ips, Some(&wanted))
                    }
                    _ => {
                        self.ports_of_backends(backends.iter(), (service, namespace), Some(&wanted))
                    }
                }
            }
            [hostname] => {
                let own: Vec<&Backend> = backends.iter().filter(|b| b.label == *hostname).collect();
                match (own.is_empty(), self.kind) {
                    (true, _) => Answer::NoName,
                    (false, RecordType::SRV) => {
                        self.ports_of_backends(own.into_iter(), (service, namespace), None)
                    }
                    (false, _) => self.addresses(own.into_iter().map(|b| b.ip)),
                }
            }
            _ => Answer::NoName,
        }
    }

    fn exists(&self, target: &Target, wanted: impl Fn(&Port) -> bool) -> Answer {
        let found = match target {
            Target::Cluster { ports, .. } => ports.iter().any(wanted),
            Target::Headless(backends) => backends.iter().flat_map(|b| &b.ports).any(wanted),
            Target::External(_) => false,
        };
        if found {
            Answer::NoData
        } else {
            Answer::NoName
        }
    }

    fn addresses(&self, ips: impl IntoIterator<Item = IpAddr>) -> Answer {
        let distinct: BTreeSet<IpAddr> = ips.into_iter().filter(|ip| self.wants(*ip)).collect();
        records(
            distinct
                .into_iter()
                .map(|ip| self.record(RData::from(ip)))
                .collect(),
            Vec::new(),
        )
    }

    fn wants(&self, ip: IpAddr) -> bool {
        match self.kind {
            RecordType::A => ip.is_ipv4(),
            RecordType::AAAA => ip.is_ipv6(),
            RecordType::ANY => true,
            _ => false,
        }
    }

    fn alias(&self, target: &str) -> Answer {
        let Ok(mut target) = Name::from_ascii(target) else {
            return Answer::NoData;
        };
        target.set_fqdn(true);
        let record = self.record(RData::CNAME(CNAME(target.clone())));
        match self.kind {
            RecordType::A | RecordType::AAAA => Answer::Alias { record, target },
            _ => only(record),
        }
    }

    fn ports_of_service(
        &self,
        ports: &[Port],
        ips: &[IpAddr],
        wanted: Option<&dyn Fn(&Port) -> bool>,
    ) -> Answer {
        let labels = labels_below(&self.name.to_lowercase(), &self.zone.domain).unwrap_or_default();
        let base = self
            .zone
            .child(&labels[labels.len().saturating_sub(3)..].join("."));
        let chosen: Vec<&Port> = ports
            .iter()
            .filter(|p| wanted.is_none_or(|w| w(p)))
            .collect();
        let weight = share(chosen.len());
        let answers = chosen
            .iter()
            .map(|p| self.srv(weight, p.number, base.clone()))
            .collect();
        let additionals = ips
            .iter()
            .map(|ip| Record::from_rdata(base.clone(), TTL, RData::from(*ip)));
        records(answers, additionals.collect())
    }

    fn ports_of_backends<'b>(
        &self,
        backends: impl Iterator<Item = &'b Backend>,
        (service, namespace): (&str, &str),
        wanted: Option<&dyn Fn(&Port) -> bool>,
    ) -> Answer {
        let mut found: BTreeSet<(String, u16)> = BTreeSet::new();
        let mut additionals = Vec::new();
        for backend in backends {
            let chosen: Vec<u16> = backend
                .ports
                .iter()
                .filter(|p| wanted.is_none_or(|w| w(p)))
                .map(|p| p.number)
                .collect();
            if !chosen.is_empty() {
                let name = self
                    .zone
                    .child(&format!("{}.{service}.{namespace}.svc", backend.label));
                additionals.push(Record::from_rdata(name, TTL, RData::from(backend.ip)));
            }
            found.extend(
                chosen
                    .into_iter()
                    .map(|number| (backend.label.clone(), number)),
            );
        }
        let weight = share(found.len());
        let target = |label: &str| {
            self.zone
                .child(&format!("{label}.{service}.{namespace}.svc"))
        };
        let answers = found
            .iter()
            .map(|(label, number)| self.srv(weight, *number, target(label)))
            .collect();
        records(answers, additionals)
    }

    fn srv(&self, weight: u16, port: u16, target: Name) -> Record {
        self.record(RData::SRV(SRV::new(0, weight, port, target)))
    }

    fn record(&self, data: RData) -> Record {
        // The name as it was asked, with its capitals: some resolvers check them.
        Record::from_rdata(self.name.clone(), TTL, data)
    }
}

/// Whether a label such as `_http` means a port or protocol.
fn is(name: &str, label: &str) -> bool {
    label.strip_prefix('_') == Some(name)
}

/// Equal weights that add up to about a hundred.
fn share(count: usize) -> u16 {
    u16::try_from(100 / count.max(1)).unwrap_or(1).max(1)
}

fn only(record: Record) -> Answer {
    Answer::Records {
        answers: vec![record],
        additionals: Vec::new(),
    }
}

fn records(answers: Vec<Record>, additionals: Vec<Record>) -> Answer {
    if answers.is_empty() {
        Answer::NoData
    } else {
        Answer::Records {
            answers,
            additionals,
        }
    }
}

#[cfg(test)]
mod tests;
