//! What the adapter does to single objects: looking up, checking the owner, describing, changing.

use virt::connect::Connect;
use virt::domain::{self, Domain};
use virt::error::ErrorNumber;
use virt::network::Network;
use virt::sys;

use crate::description::{Description, DhcpHost, Owner};
use crate::error::{HypervisorError, Object};
use crate::hypervisor::{DomainState, NetworkSummary};

/// A connection and its address; every method blocks.
pub(super) struct Inner {
    pub(super) uri: String,
    pub(super) connection: Connect,
}

impl Inner {
    /// All memory and what can be had of it, if the guests run on this machine.
    ///
    /// libvirt counts what caches hold as taken, and leaves out memory that was plugged in later.
    pub(super) fn local_memory(&self) -> Option<(u64, u64)> {
        // A local address has no host between its slashes: `qemu:///system`.
        if !self.uri.contains(":///") {
            return None;
        }
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let bytes = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        Some((bytes("MemTotal:")?, bytes("MemAvailable:")?))
    }

    pub(super) fn operation(
        &self,
        action: &'static str,
        object: Object,
        name: &str,
    ) -> impl FnOnce(virt::error::Error) -> HypervisorError {
        let (uri, name) = (self.uri.clone(), name.to_owned());
        move |source| HypervisorError::Operation { uri, action, object, name, source }
    }

    pub(super) fn query(&self, what: &'static str) -> impl FnOnce(virt::error::Error) -> HypervisorError {
        let uri = self.uri.clone();
        move |source| HypervisorError::Query { uri, what, source }
    }

    pub(super) fn foreign(&self, object: Object, found: &Description) -> HypervisorError {
        HypervisorError::Foreign { uri: self.uri.clone(), object, name: found.name.clone(), holder: found.holder() }
    }

    pub(super) fn missing(&self, object: Object, name: &str) -> HypervisorError {
        HypervisorError::Missing { uri: self.uri.clone(), object, name: name.to_owned() }
    }

    /// The domain of this name if it exists; an error if it is not `owner`'s.
    pub(super) fn domain(&self, owner: &Owner, name: &str) -> Result<Option<Domain>, HypervisorError> {
        let domain = match self.connection.lookup_domain_by_name(name) {
            Ok(domain) => domain,
            Err(e) if e.code().is(ErrorNumber::NoDomain) => return Ok(None),
            Err(e) => return Err(self.operation("look up", Object::Domain, name)(e)),
        };
        let found = self.describe_domain(&domain)?;
        if found.owner.as_ref() == Some(owner) { Ok(Some(domain)) } else { Err(self.foreign(Object::Domain, &found)) }
    }

    pub(super) fn own_domain(&self, owner: &Owner, name: &str) -> Result<Domain, HypervisorError> {
        self.domain(owner, name)?.ok_or_else(|| self.missing(Object::Domain, name))
    }

    pub(super) fn describe_domain(&self, domain: &Domain) -> Result<Description, HypervisorError> {
        let xml = domain.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE).map_err(self.query("a domain's description"))?;
        Description::parse(Object::Domain, &xml)
    }

    pub(super) fn state(&self, domain: &Domain) -> Result<DomainState, HypervisorError> {
        let (state, _) = domain.state().map_err(self.query("a domain's state"))?;
        Ok(match state.unwrap_or(domain::DomainState::NoState) {
            domain::DomainState::Running
            | domain::DomainState::Blocked
            | domain::DomainState::Shutdown
            | domain::DomainState::NoState => DomainState::Running,
            domain::DomainState::Paused | domain::DomainState::PMSuspended => DomainState::Paused,
            domain::DomainState::Shutoff => DomainState::Stopped,
            domain::DomainState::Crashed => DomainState::Crashed,
        })
    }

    pub(super) fn network(&self, owner: &Owner, name: &str) -> Result<Option<(Network, Description)>, HypervisorError> {
        let network = match self.connection.lookup_network_by_name(name) {
            Ok(network) => network,
            Err(e) if e.code().is(ErrorNumber::NoNetwork) => return Ok(None),
            Err(e) => return Err(self.operation("look up", Object::Network, name)(e)),
        };
        let found = self.describe_network(&network)?;
        if found.owner.as_ref() == Some(owner) {
            Ok(Some((network, found)))
        } else {
            Err(self.foreign(Object::Network, &found))
        }
    }

    pub(super) fn own_network(&self, owner: &Owner, name: &str) -> Result<(Network, Description), HypervisorError> {
        self.network(owner, name)?.ok_or_else(|| self.missing(Object::Network, name))
    }

    pub(super) fn describe_network(&self, network: &Network) -> Result<Description, HypervisorError> {
        let xml = network.xml_desc(0).map_err(self.query("a network's description"))?;
        Description::parse(Object::Network, &xml)
    }

    pub(super) fn all_networks(&self) -> Result<Vec<(NetworkSummary, Option<Owner>)>, HypervisorError> {
        let networks = self.connection.list_all_networks(0).map_err(self.query("the list of networks"))?;
        let mut all = Vec::new();
        for network in networks {
            // A network that was removed since the list was made is no longer of interest.
            let Ok(found) = self.describe_network(&network) else {
                continue;
            };
            let summary = NetworkSummary {
                name: found.name,
                bridge: found.bridge,
                subnet: found.subnet,
                active: network.is_active().unwrap_or(false),
                hosts: found.hosts,
                spec: found.spec,
            };
            all.push((summary, found.owner));
        }
        all.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        Ok(all)
    }

    pub(super) fn destroy(&self, domain: &Domain, name: &str) -> Result<(), HypervisorError> {
        if self.state(domain)? == DomainState::Stopped {
            return Ok(());
        }
        match domain.destroy() {
            Ok(()) => Ok(()),
            Err(_) if matches!(self.state(domain), Ok(DomainState::Stopped)) => Ok(()),
            Err(e) => Err(self.operation("stop", Object::Domain, name)(e)),
        }
    }

    pub(super) fn update_host(
        &self,
        network: &Network,
        name: &str,
        command: sys::virNetworkUpdateCommand,
        host: &DhcpHost,
    ) -> Result<(), HypervisorError> {
        let active = network.is_active().unwrap_or(false);
        let live = if active { sys::VIR_NETWORK_UPDATE_AFFECT_LIVE } else { 0 };
        let flags = live | sys::VIR_NETWORK_UPDATE_AFFECT_CONFIG;
        network
            .update(command, sys::VIR_NETWORK_SECTION_IP_DHCP_HOST, -1, &host.to_xml(), flags)
            .map_err(self.operation("change the leases of", Object::Network, name))
    }
}
