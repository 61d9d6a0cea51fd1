//! The local list of all API servers, and which of them to ask first.
//!
//! A server on this very machine comes first. The others follow in an order that differs from machine to machine, so
//! that nodes spread over the servers, and the clients of a lost server over those that are left. Servers that failed a
//! moment ago come last. The list is read again when its file changed: growing the control plane restarts nobody.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use kube::config::{Cluster, Kubeconfig};
use serde::Deserialize;

use super::first_answer::FirstAnswer;
use super::liveness::{Patience, Peers};

/// The name of the extension of a kubeconfig's cluster that lists the servers.
pub const EXTENSION: &str = "provision.dev/api-servers";

/// How long a server that failed is asked last.
const PENALTY: Duration = Duration::from_secs(5);
/// The same for one that hangs: every connection to it would cost the time of a handshake that does not come.
const HANG_PENALTY: Duration = Duration::from_secs(30);

/// What the extension holds.
#[derive(Deserialize)]
struct Extension {
    addresses: Vec<SocketAddr>,
}

/// The servers a kubeconfig lists; empty without a kubeconfig or without the extension.
pub(super) struct Servers {
    kubeconfig: Option<PathBuf>,
    state: Mutex<State>,
    pub(super) peers: Peers,
    pub(super) patience: Patience,
    pub(super) first_answer: FirstAnswer,
}

#[derive(Default)]
struct State {
    stamp: Option<(SystemTime, u64)>,
    ordered: Vec<SocketAddr>,
    /// Until when servers are asked last.
    failed: HashMap<SocketAddr, Instant>,
}

impl Servers {
    pub(super) fn none() -> Self {
        Self::from(None)
    }

    pub(super) fn of_kubeconfig(path: &Path) -> Self {
        Self::from(Some(path.to_owned()))
    }

    fn from(kubeconfig: Option<PathBuf>) -> Self {
        Self {
            kubeconfig,
            state: Mutex::default(),
            peers: Peers::default(),
            patience: Patience::default(),
            first_answer: FirstAnswer::awaited(),
        }
    }

    /// The servers in the order to ask them.
    pub(super) fn candidates(&self) -> Vec<SocketAddr> {
        let mut state = self.lock();
        if let Some(path) = &self.kubeconfig {
            state.refresh(path);
        }
        let now = Instant::now();
        state.failed.retain(|_, until| *until > now);
        let mut candidates = state.ordered.clone();
        candidates.sort_by_key(|address| state.failed.contains_key(address));
        candidates
    }

    /// Whether there is anybody else to ask.
    pub(super) fn has_alternatives(&self) -> bool {
        self.lock().ordered.len() > 1
    }

    /// Notes that a server cannot be reached or cannot answer.
    pub(super) fn failed(&self, address: SocketAddr) {
        self.punish(address, PENALTY);
    }

    /// Notes that a server accepts connections and says nothing.
    pub(super) fn hangs(&self, address: SocketAddr) {
        self.punish(address, HANG_PENALTY);
    }

    fn punish(&self, address: SocketAddr, penalty: Duration) {
        let mut state = self.lock();
        let until = Instant::now() + penalty;
        let before = state.failed.get(&address).copied();
        state.failed.insert(address, before.map_or(until, |before| before.max(until)));
        if before.is_none() && state.ordered.len() > 1 {
            tracing::info!(server = %address, "the API server does not answer, others are asked first");
        }
    }

    /// Notes that a server can be reached.
    pub(super) fn reached(&self, address: SocketAddr) {
        self.lock().failed.remove(&address);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refresh(&mut self, path: &Path) {
        let stamp = std::fs::metadata(path).and_then(|meta| Ok((meta.modified()?, meta.len()))).ok();
        // A file that is being replaced is no reason to forget the servers.
        if stamp.is_none() || stamp == self.stamp {
            return;
        }
        match Kubeconfig::read_from(path) {
            Ok(kubeconfig) => {
                let listed = current_cluster(&kubeconfig).map(listed).unwrap_or_default();
                self.ordered = order(listed, &own_addresses(), &host_name());
                self.stamp = stamp;
                if !self.ordered.is_empty() {
                    tracing::info!(servers = ?self.ordered, "the API servers");
                }
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "the changed kubeconfig cannot be read, keeping the old list");
            }
        }
    }
}

/// The cluster of a kubeconfig's current context.
pub(super) fn current_cluster(kubeconfig: &Kubeconfig) -> Option<&Cluster> {
    let name = kubeconfig.current_context.as_deref()?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == name)?.context.as_ref()?;
    kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster)?.cluster.as_ref()
}

fn listed(cluster: &Cluster) -> Vec<SocketAddr> {
    let Some(extension) = cluster.extensions.iter().flatten().find(|extension| extension.name == EXTENSION) else {
        return Vec::new();
    };
    match Extension::deserialize(&extension.extension) {
        Ok(extension) => extension.addresses,
        Err(error) => {
            tracing::warn!(extension = EXTENSION, %error, "the list of API servers is not addresses: [\"IP:PORT\", …]");
            Vec::new()
        }
    }
}

/// Own servers first, the others by their rank for this host.
fn order(mut addresses: Vec<SocketAddr>, own: &[IpAddr], host: &str) -> Vec<SocketAddr> {
    let rank = |address: &SocketAddr| {
        let mut hasher = DefaultHasher::new();
        (host, address).hash(&mut hasher);
        hasher.finish()
    };
    let is_own = |address: &SocketAddr| address.ip().is_loopback() || own.contains(&address.ip());
    addresses.sort_by_cached_key(|address| (!is_own(address), rank(address), *address));
    addresses.dedup();
    addresses
}

fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let four = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            four.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .collect()
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_server_on_this_machine_comes_first() {
        let own = ["10.80.0.12".parse().unwrap()];
        let listed = addresses(&["10.80.0.10:6443", "10.80.0.11:6443", "10.80.0.12:6443"]);
        for host in ["a", "b", "c", "d"] {
            assert_eq!(order(listed.clone(), &own, host)[0].to_string(), "10.80.0.12:6443");
        }
    }

    #[test]
    fn nodes_spread_over_the_servers_and_over_those_left_when_one_is_lost() {
        let listed = addresses(&["10.80.0.10:6443", "10.80.0.11:6443", "10.80.0.12:6443"]);
        let orders: Vec<Vec<SocketAddr>> =
            (0..300).map(|node| order(listed.clone(), &[], &format!("worker-{node}"))).collect();
        for server in &listed {
            let mine: Vec<_> = orders.iter().filter(|order| order[0] == *server).collect();
            assert!(mine.len() > 60, "{server}: {}", mine.len());
            for other in listed.iter().filter(|other| *other != server) {
                assert!(mine.iter().filter(|order| order[1] == *other).count() > 20, "{server} then {other}");
            }
        }
    }

    #[test]
    fn the_order_of_a_host_is_always_the_same() {
        let one = addresses(&["10.80.0.10:6443", "10.80.0.11:6443", "10.80.0.12:6443"]);
        let mut other = one.clone();
        other.reverse();
        assert_eq!(order(one, &[], "worker-1"), order(other, &[], "worker-1"));
    }

    fn write(path: &Path, extension: &str) {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\nusers: [{{name: u, user: {{}}}}]\nclusters: [{{name: k, cluster: {{server: 'https://api:6443', extensions: [{extension}]}}}}]\n"
        );
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        write(&path, "");
        let servers = Servers::of_kubeconfig(&path);
        assert!(servers.candidates().is_empty());
        write(&path, "{name: provision.dev/api-servers, extension: {addresses: ['192.0.2.1:6443']}}");
        assert_eq!(servers.candidates(), addresses(&["192.0.2.1:6443"]));
        std::fs::write(&path, "clusters: {").unwrap();
        assert_eq!(servers.candidates(), addresses(&["192.0.2.1:6443"]));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(servers.candidates(), addresses(&["192.0.2.1:6443"]));
        write(&path, "{name: provision.dev/api-servers, extension: {addresses: ['192.0.2.1:6443', '192.0.2.2:6443']}}");
        assert_eq!(servers.candidates().len(), 2);
    }

    #[test]
    fn a_server_that_failed_comes_last_until_it_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        write(&path, "{name: provision.dev/api-servers, extension: {addresses: ['192.0.2.1:1', '192.0.2.2:1']}}");
        let servers = Servers::of_kubeconfig(&path);
        let first = servers.candidates()[0];
        servers.failed(first);
        assert_eq!(servers.candidates()[1], first);
        servers.reached(first);
        assert_eq!(servers.candidates()[0], first);
    }
}
