//! Reading what we need out of libvirt's XML: names, the owner element, addresses.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde::{Deserialize, Serialize};

use crate::error::{HypervisorError, Object};

/// The XML namespace of the owner element; templates declare it as `xmlns:provision`.
pub const OWNER_NAMESPACE: &str = "urn:provision:owner:1";

/// Who an object belongs to: the attributes `cluster` and `id` of its owner element.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The cluster's name.
    pub cluster: String,
    /// What tells two clusters of one name apart; made once and kept in the cluster's state.
    pub id: String,
}

/// An address promised to a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpHost {
    /// The machine's host name.
    pub name: String,
    /// The address of its network card, lower case with colons.
    pub mac: String,
    /// Its address.
    pub address: Ipv4Addr,
}

impl DhcpHost {
    /// The `<host>` element of libvirt's network XML.
    pub(crate) fn to_xml(&self) -> String {
        let name = quick_xml::escape::escape(self.name.as_str());
        format!("<host mac='{}' name='{name}' ip='{}'/>", self.mac, self.address)
    }
}

/// The parts of a domain's or network's XML that this crate looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) owner: Option<Owner>,
    pub(crate) spec: String,
    pub(crate) uuid: String,
    pub(crate) bridge: String,
    pub(crate) subnet: Option<Ipv4Net>,
    pub(crate) hosts: Vec<DhcpHost>,
    /// The folder of a pool.
    pub(crate) target: String,
}

impl Description {
    /// Reads the description of an `object`.
    pub(crate) fn parse(object: Object, xml: &str) -> Result<Self, HypervisorError> {
        let unusable = |reason: String| HypervisorError::Description { object, reason };
        let mut reader = Reader::from_str(xml);
        let mut found = Description::default();
        let mut path: Vec<String> = Vec::new();
        loop {
            match reader.read_event().map_err(|e| unusable(e.to_string()))? {
                Event::Start(tag) => {
                    path.push(tag.name().as_ref().to_owned());
                    found.see(&path, &tag);
                }
                Event::Empty(tag) => {
                    path.push(tag.name().as_ref().to_owned());
                    found.see(&path, &tag);
                    path.pop();
                }
                Event::End(_) => {
                    path.pop();
                }
                Event::Text(text) => {
                    let text = text.xml_content(XmlVersion::Implicit1_0);
                    found.read(&path, text.trim());
                }
                Event::Eof => break,
                _ => {}
            }
        }
        if found.name.is_empty() {
            return Err(unusable("it has no name".into()));
        }
        Ok(found)
    }

    /// Refuses a description that does not say it belongs to `owner`.
    pub(crate) fn check_owner(&self, object: Object, owner: &Owner) -> Result<(), HypervisorError> {
        if self.owner.as_ref() == Some(owner) {
            return Ok(());
        }
        Err(HypervisorError::Description {
            object,
            reason: format!("{:?} does not carry the owner element of cluster {:?}", self.name, owner.cluster),
        })
    }

    /// Who holds the object, for a person.
    pub(crate) fn holder(&self) -> String {
        match &self.owner {
            Some(owner) => format!("another cluster (name {:?}, id {:?})", owner.cluster, owner.id),
            None => "somebody else (it was not made by provision)".to_owned(),
        }
    }

    fn read(&mut self, path: &[String], text: &str) {
        let names: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
        match names.as_slice() {
            ["name"] => self.name.push_str(text),
            ["uuid"] => self.uuid.push_str(text),
            ["target", "path"] => self.target.push_str(text),
            _ => {}
        }
    }

    fn see(&mut self, path: &[String], tag: &BytesStart<'_>) {
        let names: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
        match names.as_slice() {
            // The prefix is whatever the template or libvirt chose, so the namespace attribute decides.
            ["metadata", _] if is_owner_element(tag) => {
                self.owner = Some(Owner { cluster: attribute(tag, "cluster"), id: attribute(tag, "id") });
                self.spec = attribute(tag, "spec");
            }
            ["bridge"] => self.bridge = attribute(tag, "name"),
            ["ip"] if self.subnet.is_none() => self.subnet = subnet_of(tag),
            ["ip", "dhcp", "host"] => {
                if let Ok(address) = attribute(tag, "ip").parse() {
                    let mac = attribute(tag, "mac").to_ascii_lowercase();
                    self.hosts.push(DhcpHost { name: attribute(tag, "name"), mac, address });
                }
            }
            _ => {}
        }
    }
}

fn is_owner_element(tag: &BytesStart<'_>) -> bool {
    tag.local_name().as_ref() == "owner"
        && tag
            .attributes()
            .flatten()
            .any(|a| a.key.as_ref().starts_with("xmlns") && a.value.as_ref() == OWNER_NAMESPACE)
}

fn attribute(tag: &BytesStart<'_>, key: &str) -> String {
    tag.try_get_attribute(key)
        .ok()
        .flatten()
        .and_then(|a| a.normalized_value(XmlVersion::Implicit1_0).ok().map(std::borrow::Cow::into_owned))
        .unwrap_or_default()
}

fn subnet_of(tag: &BytesStart<'_>) -> Option<Ipv4Net> {
    let address: Ipv4Addr = attribute(tag, "address").parse().ok()?;
    let (netmask, prefix) = (attribute(tag, "netmask"), attribute(tag, "prefix"));
    let net = if prefix.is_empty() {
        Ipv4Net::with_netmask(address, netmask.parse().ok()?).ok()?
    } else {
        Ipv4Net::new(address, prefix.parse().ok()?).ok()?
    };
    Some(net.trunc())
}

#[cfg(test)]
mod tests;
