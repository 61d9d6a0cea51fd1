//! How each sort of name in the zone answers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::rr::rdata::{CNAME, NS, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::{Answer, TTL, Zone, labels_below};
use crate::records::{Backend, Port, Target, label_address};

/// One question, and how each sort of name answers it.
pub(super) struct Asked<'a> {
    pub(super) zone: &'a Zone,
    pub(super) name: &'a Name,
    pub(super) kind: RecordType,
}

impl Asked<'_> {
    pub(super) fn apex(&self) -> Answer {
        match self.kind {
            RecordType::SOA => only(self.zone.authority()),
            RecordType::NS => only(self.record(RData::NS(NS(self.zone.child("ns.dns"))))),
            _ => Answer::NoData,
        }
    }

    /// The name of this server: the address of the DNS Service where the zone has it.
    pub(super) fn nameserver(&self) -> Answer {
        match self.zone.services.get(&("kube-system".to_owned(), "kube-dns".to_owned())) {
            Some(Target::Cluster { ips, .. }) => self.addresses(ips.iter().copied()),
            _ => Answer::NoData,
        }
    }

    pub(super) fn text(&self, text: &str) -> Answer {
        if matches!(self.kind, RecordType::TXT | RecordType::ANY) {
            return only(self.record(RData::TXT(TXT::new(vec![text.to_owned()]))));
        }
        Answer::NoData
    }

    pub(super) fn pod(&self, label: &str, namespace: &str) -> Answer {
        match label_address(label) {
            Some(ip) if self.zone.namespaces.contains_key(namespace) => self.addresses([ip]),
            _ => Answer::NoName,
        }
    }

    fn target(&self, service: &str, namespace: &str) -> Option<&Target> {
        self.zone.services.get(&(namespace.to_owned(), service.to_owned()))
    }

    pub(super) fn service(&self, service: &str, namespace: &str) -> Answer {
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
    pub(super) fn below_service(&self, rest: &[&str], service: &str, namespace: &str) -> Answer {
        let Some(target) = self.target(service, namespace) else {
            return Answer::NoName;
        };
        let backends = match target {
            Target::Cluster { backends, .. } | Target::Headless(backends) => backends,
            Target::External(_) => return Answer::NoName,
        };
        match rest {
            [protocol] if protocol.starts_with('_') => Self::exists(target, |p| is(&p.protocol, protocol)),
            [port, protocol] if port.starts_with('_') && protocol.starts_with('_') => {
                let wanted = |p: &Port| is(&p.name, port) && is(&p.protocol, protocol);
                let found = Self::exists(target, wanted);
                if found != Answer::NoData || self.kind != RecordType::SRV {
                    return found;
                }
                match target {
                    Target::Cluster { ips, ports, .. } => self.ports_of_service(ports, ips, Some(&wanted)),
                    _ => self.ports_of_backends(backends.iter(), (service, namespace), Some(&wanted)),
                }
            }
            [hostname] => {
                let own: Vec<&Backend> = backends.iter().filter(|b| b.label == *hostname).collect();
                match (own.is_empty(), self.kind) {
                    (true, _) => Answer::NoName,
                    (false, RecordType::SRV) => self.ports_of_backends(own.into_iter(), (service, namespace), None),
                    (false, _) => self.addresses(own.into_iter().map(|b| b.ip)),
                }
            }
            _ => Answer::NoName,
        }
    }

    fn exists(target: &Target, wanted: impl Fn(&Port) -> bool) -> Answer {
        let found = match target {
            Target::Cluster { ports, .. } => ports.iter().any(wanted),
            Target::Headless(backends) => backends.iter().flat_map(|b| &b.ports).any(wanted),
            Target::External(_) => false,
        };
        if found { Answer::NoData } else { Answer::NoName }
    }

    fn addresses(&self, ips: impl IntoIterator<Item = IpAddr>) -> Answer {
        let distinct: BTreeSet<IpAddr> = ips.into_iter().filter(|ip| self.wants(*ip)).collect();
        records(distinct.into_iter().map(|ip| self.record(RData::from(ip))).collect(), Vec::new())
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

    fn ports_of_service(&self, ports: &[Port], ips: &[IpAddr], wanted: Option<&dyn Fn(&Port) -> bool>) -> Answer {
        let labels = labels_below(&self.name.to_lowercase(), &self.zone.domain).unwrap_or_default();
        let base = self.zone.child(&labels[labels.len().saturating_sub(3)..].join("."));
        let chosen: Vec<&Port> = ports.iter().filter(|p| wanted.is_none_or(|w| w(p))).collect();
        let weight = share(chosen.len());
        let answers = chosen.iter().map(|p| self.srv(weight, p.number, base.clone())).collect();
        let additionals = ips.iter().map(|ip| Record::from_rdata(base.clone(), TTL, RData::from(*ip)));
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
            let chosen: Vec<u16> =
                backend.ports.iter().filter(|p| wanted.is_none_or(|w| w(p))).map(|p| p.number).collect();
            if !chosen.is_empty() {
                let name = self.zone.child(&format!("{}.{service}.{namespace}.svc", backend.label));
                additionals.push(Record::from_rdata(name, TTL, RData::from(backend.ip)));
            }
            found.extend(chosen.into_iter().map(|number| (backend.label.clone(), number)));
        }
        let weight = share(found.len());
        let target = |label: &str| self.zone.child(&format!("{label}.{service}.{namespace}.svc"));
        let answers = found.iter().map(|(label, number)| self.srv(weight, *number, target(label))).collect();
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
    Answer::Records { answers: vec![record], additionals: Vec::new() }
}

fn records(answers: Vec<Record>, additionals: Vec<Record>) -> Answer {
    if answers.is_empty() { Answer::NoData } else { Answer::Records { answers, additionals } }
}
