//! The twin of the real adapter, in memory, for tests of what stands above.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::description::{Description, DhcpHost, Owner};
use crate::error::{HypervisorError, Object};
use crate::hypervisor::{DomainState, DomainSummary, HostInfo, Hypervisor, NetworkSummary};

const URI: &str = "fake:///world";

/// A hypervisor that only remembers; it can be told to fail.
pub struct FakeHypervisor {
    host: HostInfo,
    world: Mutex<World>,
}

#[derive(Default)]
struct World {
    domains: BTreeMap<String, (Description, DomainState)>,
    networks: BTreeMap<String, (Description, bool)>,
    calls: Vec<String>,
    failing: Option<String>,
}

impl Default for FakeHypervisor {
    fn default() -> Self {
        let host = HostInfo {
            hostname: "host.example".into(),
            cpus: 16,
            memory_bytes: 64 << 30,
            free_memory_bytes: 60 << 30,
            kvm: true,
            hypervisor_version: "10.0.2".into(),
        };
        Self::new(host)
    }
}

impl FakeHypervisor {
    /// A hypervisor on a host of this size.
    pub fn new(host: HostInfo) -> Self {
        Self { host, world: Mutex::default() }
    }

    /// Everything that changed something so far, as `start_domain lab-cp-1`.
    pub fn calls(&self) -> Vec<String> {
        self.world().calls.clone()
    }

    /// Makes the next change whose line contains `part` fail as if the object were missing.
    pub fn fail_on(&self, part: &str) {
        self.world().failing = Some(part.to_owned());
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a change, or fails it.
    fn change(&self, action: &str, object: Object, name: &str) -> Result<MutexGuard<'_, World>, HypervisorError> {
        let mut world = self.world();
        let line = format!("{action} {name}");
        if world.failing.as_ref().is_some_and(|part| line.contains(part.as_str())) {
            world.failing = None;
            return Err(HypervisorError::Missing { uri: URI.into(), object, name: name.into() });
        }
        world.calls.push(line);
        Ok(world)
    }
}

impl World {
    fn domain(&mut self, owner: &Owner, name: &str) -> Result<Option<&mut DomainState>, HypervisorError> {
        match self.domains.get_mut(name) {
            Some((found, _)) if found.owner.as_ref() != Some(owner) => Err(foreign(Object::Domain, found)),
            Some((_, state)) => Ok(Some(state)),
            None => Ok(None),
        }
    }

    fn network(&mut self, owner: &Owner, name: &str) -> Result<Option<&mut (Description, bool)>, HypervisorError> {
        match self.networks.get_mut(name) {
            Some((found, _)) if found.owner.as_ref() != Some(owner) => Err(foreign(Object::Network, found)),
            found => Ok(found),
        }
    }
}

fn foreign(object: Object, found: &Description) -> HypervisorError {
    HypervisorError::Foreign { uri: URI.into(), object, name: found.name.clone(), holder: found.holder() }
}

fn missing(object: Object, name: &str) -> HypervisorError {
    HypervisorError::Missing { uri: URI.into(), object, name: name.into() }
}

fn summary(found: &Description, active: bool) -> NetworkSummary {
    NetworkSummary {
        name: found.name.clone(),
        bridge: found.bridge.clone(),
        subnet: found.subnet,
        active,
        hosts: found.hosts.clone(),
        spec: found.spec.clone(),
    }
}

#[async_trait]
impl Hypervisor for FakeHypervisor {
    fn uri(&self) -> &str {
        URI
    }

    async fn host(&self) -> Result<HostInfo, HypervisorError> {
        Ok(self.host.clone())
    }

    async fn domains(&self, owner: &Owner) -> Result<Vec<DomainSummary>, HypervisorError> {
        let world = self.world();
        let ours = world.domains.values().filter(|(found, _)| found.owner.as_ref() == Some(owner));
        Ok(ours
            .map(|(found, state)| DomainSummary {
                name: found.name.clone(),
                uuid: found.uuid.clone(),
                state: *state,
                spec: found.spec.clone(),
            })
            .collect())
    }

    async fn define_domain(&self, owner: &Owner, xml: &str) -> Result<(), HypervisorError> {
        let wanted = Description::parse(Object::Domain, xml)?;
        wanted.check_owner(Object::Domain, owner)?;
        let mut world = self.change("define_domain", Object::Domain, &wanted.name)?;
        let state = world.domain(owner, &wanted.name)?.map_or(DomainState::Stopped, |state| *state);
        world.domains.insert(wanted.name.clone(), (wanted, state));
        Ok(())
    }

    async fn start_domain(&self, owner: &Owner, name: &str) -> Result<(), HypervisorError> {
        let mut world = self.change("start_domain", Object::Domain, name)?;
        let state = world.domain(owner, name)?.ok_or_else(|| missing(Object::Domain, name))?;
        *state = DomainState::Running;
        Ok(())
    }

    async fn shutdown_domain(&self, owner: &Owner, name: &str, _patience: Duration) -> Result<(), HypervisorError> {
        let mut world = self.change("shutdown_domain", Object::Domain, name)?;
        let state = world.domain(owner, name)?.ok_or_else(|| missing(Object::Domain, name))?;
        *state = DomainState::Stopped;
        Ok(())
    }

    async fn destroy_domain(&self, owner: &Owner, name: &str) -> Result<(), HypervisorError> {
        let mut world = self.change("destroy_domain", Object::Domain, name)?;
        if let Some(state) = world.domain(owner, name)? {
            *state = DomainState::Stopped;
        }
        Ok(())
    }

    async fn remove_domain(&self, owner: &Owner, name: &str) -> Result<(), HypervisorError> {
        let mut world = self.change("remove_domain", Object::Domain, name)?;
        world.domain(owner, name)?;
        world.domains.remove(name);
        Ok(())
    }

    async fn networks(&self, owner: &Owner) -> Result<Vec<NetworkSummary>, HypervisorError> {
        let world = self.world();
        let ours = world.networks.values().filter(|(found, _)| found.owner.as_ref() == Some(owner));
        Ok(ours.map(|(found, active)| summary(found, *active)).collect())
    }

    async fn occupied_networks(&self) -> Result<Vec<NetworkSummary>, HypervisorError> {
        Ok(self.world().networks.values().map(|(found, active)| summary(found, *active)).collect())
    }

    async fn ensure_network(&self, owner: &Owner, xml: &str) -> Result<(), HypervisorError> {
        let wanted = Description::parse(Object::Network, xml)?;
        wanted.check_owner(Object::Network, owner)?;
        let mut world = self.change("ensure_network", Object::Network, &wanted.name)?;
        if let Some((_, active)) = world.network(owner, &wanted.name)? {
            *active = true;
        } else {
            world.networks.insert(wanted.name.clone(), (wanted, true));
        }
        Ok(())
    }

    async fn add_dhcp_host(&self, owner: &Owner, network: &str, host: &DhcpHost) -> Result<(), HypervisorError> {
        let mut world = self.change("add_dhcp_host", Object::Network, network)?;
        let (found, _) = world.network(owner, network)?.ok_or_else(|| missing(Object::Network, network))?;
        found.hosts.retain(|old| old.mac != host.mac);
        found.hosts.push(host.clone());
        Ok(())
    }

    async fn remove_dhcp_host(&self, owner: &Owner, network: &str, mac: &str) -> Result<(), HypervisorError> {
        let mut world = self.change("remove_dhcp_host", Object::Network, network)?;
        if let Some((found, _)) = world.network(owner, network)? {
            found.hosts.retain(|old| !old.mac.eq_ignore_ascii_case(mac));
        }
        Ok(())
    }

    async fn remove_network(&self, owner: &Owner, name: &str) -> Result<(), HypervisorError> {
        let mut world = self.change("remove_network", Object::Network, name)?;
        world.network(owner, name)?;
        world.networks.remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_told_failure_happens_once_and_leaves_no_trace() {
        let (fake, me) = (FakeHypervisor::default(), Owner { cluster: "lab".into(), id: "1".into() });
        let xml = "<domain><name>lab-1</name><metadata>
            <p:owner xmlns:p='urn:provision:owner:1' cluster='lab' id='1' spec=''/></metadata></domain>";
        fake.fail_on("define_domain");
        fake.define_domain(&me, xml).await.unwrap_err();
        fake.define_domain(&me, xml).await.unwrap();
        fake.start_domain(&me, "lab-1").await.unwrap();
        let stranger = Owner { cluster: "lab".into(), id: "2".into() };
        assert!(fake.remove_domain(&stranger, "lab-1").await.is_err());
        assert_eq!(fake.domains(&me).await.unwrap()[0].state, DomainState::Running);
        assert_eq!(fake.calls()[..2], ["define_domain lab-1", "start_domain lab-1"]);
    }
}
