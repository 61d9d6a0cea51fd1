//! The host as the proxy needs it: kernel switches, its addresses, nftables and conntrack together.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use netfilter::{
    Conntrack, ConntrackCommand, ConntrackError, Family, NftCommand, Nftables, NftablesError, SysctlError, UdpFlows,
};

use crate::config::ConntrackLimits;

/// The real host.
#[derive(Debug, Clone)]
pub struct Host {
    nft: NftCommand,
    conntrack: ConntrackCommand,
}

impl Host {
    /// Finds the host's programs.
    pub fn find(root: Option<&Path>) -> Result<Self, NftablesError> {
        let conntrack = ConntrackCommand::find(root);
        if !conntrack.is_available() {
            tracing::warn!("no conntrack program: UDP clients keep endpoints that are gone until their flow expires");
        }
        Ok(Self { nft: NftCommand::find(root)?, conntrack })
    }
}

impl Nftables for Host {
    async fn apply(&self, transaction: &str) -> Result<(), NftablesError> {
        self.nft.apply(transaction).await
    }

    async fn list_table(&self, family: Family, table: &str) -> Result<Option<String>, NftablesError> {
        self.nft.list_table(family, table).await
    }
}

impl Conntrack for Host {
    async fn forget_udp(&self, flows: &UdpFlows) -> Result<(), ConntrackError> {
        self.conntrack.forget_udp(flows).await
    }
}

/// Sets the switches without which packets are not forwarded or not seen; failures are told, not fatal.
pub fn prepare(limits: &ConntrackLimits) {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let flows = limits.max_per_core.saturating_mul(cpus as u64).max(limits.min);
    let mut wanted = vec![
        ("net/ipv4/ip_forward", "1".to_owned()),
        // Packets between pods of one bridge must meet the rules too.
        ("net/bridge/bridge-nf-call-iptables", "1".to_owned()),
    ];
    if limits.max_per_core > 0 && current("net/netfilter/nf_conntrack_max").is_some_and(|now| now < flows) {
        wanted.push(("net/netfilter/nf_conntrack_max", flows.to_string()));
    }
    for (name, value) in [
        ("net/netfilter/nf_conntrack_tcp_timeout_established", limits.tcp_established.as_secs()),
        ("net/netfilter/nf_conntrack_tcp_timeout_close_wait", limits.tcp_close_wait.as_secs()),
    ] {
        if value > 0 {
            wanted.push((name, value.to_string()));
        }
    }
    for (name, value) in wanted {
        match netfilter::ensure_sysctl(name, &value) {
            Ok(true) => tracing::info!(name, value, "kernel switch set"),
            Ok(false) => {}
            Err(SysctlError::Missing { name }) => {
                tracing::debug!(name, "kernel switch does not exist");
            }
            Err(error) => tracing::warn!(%error, "kernel switch not set"),
        }
    }
}

fn current(name: &str) -> Option<u64> {
    std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim().parse().ok()
}

/// The addresses of this host within some networks; loopback never answers node ports.
pub fn addresses_within(networks: &[IpNet]) -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let mut found: Vec<IpAddr> = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let four = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            four.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .filter(|ip| !ip.is_loopback() && networks.iter().any(|n| n.contains(ip)))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_answers_no_node_ports() {
        let everywhere: Vec<IpNet> = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        assert!(addresses_within(&everywhere).iter().all(|ip| !ip.is_loopback()));
    }
}
