//! Names of chains and sets: readable, unique, stable over restarts, short enough for the kernel.

use crate::endpoints::Endpoint;
use crate::service::{ServiceName, VirtualPort};

/// The longest chain name that all kernels take, without its terminator.
const LIMIT: usize = 127;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The full name of a service port: `namespace/name/protocol/port-name`.
pub fn port(service: &ServiceName, port: &VirtualPort) -> String {
    format!("{}/{}/{}/{}", service.namespace, service.name, port.protocol, port.name)
}

/// The chain that spreads over all endpoints.
pub fn service(full_name: &str) -> String {
    named("service", full_name)
}

/// The chain that spreads over the endpoints of this node.
pub fn local(full_name: &str) -> String {
    named("local", full_name)
}

/// The chain for traffic from outside the cluster.
pub fn external(full_name: &str) -> String {
    named("external", full_name)
}

/// The chain that checks where traffic to a load balancer address comes from.
pub fn firewall(full_name: &str) -> String {
    named("firewall", full_name)
}

/// The chain that leads to one endpoint.
pub fn endpoint(full_name: &str, endpoint: &Endpoint) -> String {
    named("endpoint", &format!("{full_name}__{}/{}", endpoint.ip, endpoint.port))
}

/// The set of clients that stay with one endpoint; another timeout makes another set.
pub fn affinity(full_name: &str, endpoint: &Endpoint, seconds: u32) -> String {
    named("affinity", &format!("{full_name}__{}/{}__{seconds}s", endpoint.ip, endpoint.port))
}

fn named(kind: &str, subject: &str) -> String {
    let hash = fnv1a(subject.as_bytes());
    let code: String =
        (0..8).map(|i| char::from(ALPHABET[usize::try_from(hash >> (i * 5) & 31).unwrap_or_default()])).collect();
    let mut name = format!("{kind}-{code}-");
    // Identifiers of nft know no colon; nothing else than names of Kubernetes comes in here.
    name.extend(subject.chars().map(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | '/' => c,
        _ => '.',
    }));
    name.truncate(LIMIT);
    name
}

/// A 64-bit hash that is the same in every run and on every machine.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_but_stay_apart() {
        let long = "n".repeat(200);
        let (one, two) = (service(&format!("{long}1")), service(&format!("{long}2")));
        assert_eq!(one.len(), LIMIT);
        assert_ne!(one, two);
    }

    #[test]
    fn no_character_can_leave_the_identifier() {
        let name = service("a b;{}\n\"é/x");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)), "{name}");
    }
}
