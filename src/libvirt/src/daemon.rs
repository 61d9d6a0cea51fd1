//! The real adapter: one connection to a libvirt daemon.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use virt::connect::Connect;
use virt::sys;

use self::objects::Inner;
use crate::description::{Description, DhcpHost, Owner};
use crate::error::{HypervisorError, Object};
use crate::hypervisor::{DomainState, DomainSummary, HostInfo, Hypervisor, NetworkSummary};

mod events;
mod objects;
mod pool;

pub use pool::{Overlay, Pool};

/// A connection to a libvirt daemon; cheap to clone.
#[derive(Clone)]
pub struct Daemon {
    inner: Arc<Inner>,
}

impl Daemon {
    /// Opens a connection and waits until the daemon is ready to serve it.
    pub async fn connect(uri: &str) -> Result<Self, HypervisorError> {
        let uri = uri.to_owned();
        let interrupted = HypervisorError::Interrupted { uri: uri.clone() };
        tokio::task::spawn_blocking(move || {
            // libvirt would print every error to the terminal, also those that are answers.
            virt::error::clear_error_callback();
            events::start_loop();
            match Connect::open(Some(&uri)) {
                Ok(connection) => Ok(Self { inner: Arc::new(Inner { uri, connection }) }),
                Err(source) => Err(HypervisorError::Connect { uri, source }),
            }
        })
        .await
        .unwrap_or(Err(interrupted))
    }

    /// Refuses if somebody else has a domain of one of these names.
    pub async fn refuse_foreign(&self, owner: &Owner, names: Vec<String>) -> Result<(), HypervisorError> {
        let owner = owner.clone();
        self.call(move |inner| names.iter().try_for_each(|name| inner.domain(&owner, name).map(drop))).await
    }

    /// Runs blocking libvirt calls on a thread that may block.
    async fn call<T, F>(&self, f: F) -> Result<T, HypervisorError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> Result<T, HypervisorError> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || f(&inner))
            .await
            .unwrap_or_else(|_| Err(HypervisorError::Interrupted { uri: self.inner.uri.clone() }))
    }
}

#[async_trait]
impl Hypervisor for Daemon {
    fn uri(&self) -> &str {
        &self.inner.uri
    }

    async fn host(&self) -> Result<HostInfo, HypervisorError> {
        self.call(|inner| {
            let node = inner.connection.node_info().map_err(inner.query("the host's size"))?;
            let version = inner.connection.hyp_version().unwrap_or_default();
            let said = (node.memory * 1024, inner.connection.free_memory().unwrap_or(0));
            let (memory_bytes, free_memory_bytes) = inner.local_memory().unwrap_or(said);
            Ok(HostInfo {
                hostname: inner.connection.hostname().map_err(inner.query("the host's name"))?,
                cpus: node.cpus,
                memory_bytes,
                free_memory_bytes,
                kvm: inner.connection.domain_capabilities(None, None, None, Some("kvm"), 0).is_ok(),
                hypervisor_version: format!("{}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000),
            })
        })
        .await
    }

    async fn domains(&self, owner: &Owner) -> Result<Vec<DomainSummary>, HypervisorError> {
        let owner = owner.clone();
        self.call(move |inner| {
            let all = inner.connection.list_all_domains(0).map_err(inner.query("the list of domains"))?;
            let mut ours = Vec::new();
            for domain in all {
                let Ok(found) = inner.describe_domain(&domain) else {
                    continue;
                };
                if found.owner.as_ref() == Some(&owner) {
                    let state = inner.state(&domain)?;
                    ours.push(DomainSummary { name: found.name, uuid: found.uuid, state, spec: found.spec });
                }
            }
            ours.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(ours)
        })
        .await
    }

    async fn define_domain(&self, owner: &Owner, xml: &str) -> Result<(), HypervisorError> {
        let (owner, xml) = (owner.clone(), xml.to_owned());
        self.call(move |inner| {
            let wanted = Description::parse(Object::Domain, &xml)?;
            wanted.check_owner(Object::Domain, &owner)?;
            inner.domain(&owner, &wanted.name)?;
            let defined = inner.connection.define_domain_xml(&xml);
            defined.map(drop).map_err(inner.operation("define", Object::Domain, &wanted.name))
        })
        .await
    }

    async fn start_domain(&self, owner: &Owner, name: &str) -> Result<(), HypervisorError> {
        let (owner, name) = (owner.clone(), name.to_owned());
        self.call(move |inner| {
            let domain = inner.own_domain(&owner, &name)?;
            let started = match inner.state(&domain)? {
                DomainState::Running => Ok(()),
                DomainState::Paused => domain.resume(),
                DomainState::Stopped => domain.create(),
                DomainState::Crashed => domain.destroy().and_then(|()| domain.create()),
            };
            started.map_err(inner.operation("start", Object::Domain, &name))
        })
        .await
    }

    async fn shutdown_domain(&self, owner: &Owner, name: &str, patience: Duration) -> Result<(), HypervisorError> {
        let (me, domain_name) = (owner.clone(), name.to_owned());
        let (domain, watch) = self
            .call(move |inner| {
                let domain = inner.own_domain(&me, &domain_name)?;
                // Listening comes first: a guest may be off before the call that asks it returns.
                let watch = events::Watch::new(&inner.connection, &domain);
                let watch = watch.map_err(inner.operation("watch", Object::Domain, &domain_name))?;
                if inner.state(&domain)? != DomainState::Stopped {
                    domain.shutdown().map_err(inner.operation("shut down", Object::Domain, &domain_name))?;
                }
                Ok((domain, watch))
            })
            .await?;
        let domain = Arc::new(domain);
        let ended = async {
            loop {
                let domain = Arc::clone(&domain);
                if self.call(move |inner| inner.state(&domain)).await? == DomainState::Stopped {
                    return Ok(());
                }
                watch.next().await;
            }
        };
        tokio::time::timeout(patience, ended).await.unwrap_or_else(|_| {
            let (uri, name) = (self.inner.uri.clone(), name.to_owned());
            Err(HypervisorError::StillRunning { uri, name, seconds: patience.as_secs() })
        })
    }

    async fn destroy_domain(&self, owner: &Owner, name: &str) -> Result<(), HypervisorError> {
        let (owner, name) = (owner.clone(), name.to_owned());
        self.call(move |inner| match inner.domain(&owner, &name)? {
            Some(domain) => inner.destroy(&domain, &name),
            None => Ok(()),
        })
        .await
    }

    async fn remove_domain(&self, owner: &Owner, name: &str) -> Result<(), HypervisorError> {
        let (owner, name) = (owner.clone(), name.to_owned());
        self.call(move |inner| {
            let Some(domain) = inner.domain(&owner, &name)? else {
                return Ok(());
            };
            inner.destroy(&domain, &name)?;
            let flags = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA;
            domain.undefine_flags(flags).map_err(inner.operation("remove", Object::Domain, &name))
        })
        .await
    }

    async fn networks(&self, owner: &Owner) -> Result<Vec<NetworkSummary>, HypervisorError> {
        let owner = owner.clone();
        self.call(move |inner| {
            let all = inner.all_networks()?;
            Ok(all.into_iter().filter(|(_, holder)| holder.as_ref() == Some(&owner)).map(|(n, _)| n).collect())
        })
        .await
    }

    async fn occupied_networks(&self) -> Result<Vec<NetworkSummary>, HypervisorError> {
        self.call(|inner| Ok(inner.all_networks()?.into_iter().map(|(network, _)| network).collect())).await
    }

    async fn ensure_network(&self, owner: &Owner, xml: &str) -> Result<(), HypervisorError> {
        let (owner, xml) = (owner.clone(), xml.to_owned());
        self.call(move |inner| {
            let wanted = Description::parse(Object::Network, &xml)?;
            wanted.check_owner(Object::Network, &owner)?;
            let network = if let Some((network, _)) = inner.network(&owner, &wanted.name)? {
                network
            } else {
                let made = inner.connection.define_network_xml(&xml);
                made.map_err(inner.operation("define", Object::Network, &wanted.name))?
            };
            if !network.is_active().unwrap_or(false) {
                network.create().map_err(inner.operation("start", Object::Network, &wanted.name))?;
            }
            if !network.autostart().unwrap_or(false) {
                let set = network.set_autostart(true);
                set.map(drop).map_err(inner.operation("set to start by itself", Object::Network, &wanted.name))?;
            }
            Ok(())
        })
        .await
    }

    async fn add_dhcp_host(&self, owner: &Owner, network: &str, host: &DhcpHost) -> Result<(), HypervisorError> {
        let (owner, name, host) = (owner.clone(), network.to_owned(), host.clone());
        self.call(move |inner| {
            let (network, found) = inner.own_network(&owner, &name)?;
            if found.hosts.contains(&host) {
                return Ok(());
            }
            for old in found.hosts.iter().filter(|h| h.mac == host.mac) {
                inner.update_host(&network, &name, sys::VIR_NETWORK_UPDATE_COMMAND_DELETE, old)?;
            }
            inner.update_host(&network, &name, sys::VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, &host)
        })
        .await
    }

    async fn remove_dhcp_host(&self, owner: &Owner, network: &str, mac: &str) -> Result<(), HypervisorError> {
        let (owner, name, mac) = (owner.clone(), network.to_owned(), mac.to_ascii_lowercase());
        self.call(move |inner| {
            let Some((network, found)) = inner.network(&owner, &name)? else {
                return Ok(());
            };
            for old in found.hosts.iter().filter(|h| h.mac == mac) {
                inner.update_host(&network, &name, sys::VIR_NETWORK_UPDATE_COMMAND_DELETE, old)?;
            }
            Ok(())
        })
        .await
    }

    async fn remove_network(&self, owner: &Owner, name: &str) -> Result<(), HypervisorError> {
        let (owner, name) = (owner.clone(), name.to_owned());
        self.call(move |inner| {
            let Some((network, _)) = inner.network(&owner, &name)? else {
                return Ok(());
            };
            if network.is_active().unwrap_or(false) {
                network.destroy().map_err(inner.operation("stop", Object::Network, &name))?;
            }
            network.undefine().map_err(inner.operation("remove", Object::Network, &name))
        })
        .await
    }
}

#[cfg(test)]
mod tests;
