//! Name resolution inside a pod.

use std::net::IpAddr;

use cri::api::DnsConfig;
use k8s_openapi::api::core::v1::Pod;

use super::identity;

/// Limits of the C library's resolver that upstream also holds.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;

/// What the cluster and the node offer.
#[derive(Debug, Clone, Default)]
pub struct DnsSettings {
    /// Addresses of the cluster's DNS service.
    pub servers: Vec<IpAddr>,
    /// The cluster's domain, empty if it has none.
    pub domain: String,
    /// The resolver configuration of the node.
    pub host: DnsConfig,
}

/// Reads a `resolv.conf`.
pub fn parse(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            // The last search line wins; `domain` is its older form.
            Some("search" | "domain") => {
                config.searches = words.filter(|word| *word != ".").map(str::to_owned).collect();
            }
            Some("options") => config.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    config
}

/// The resolver configuration of a pod by its policy.
pub fn of_pod(pod: &Pod, settings: &DnsSettings) -> DnsConfig {
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let cluster_first = match policy {
        "ClusterFirst" => !identity::host_network(pod),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut config = if policy == "None" {
        DnsConfig::default()
    } else if cluster_first && !settings.servers.is_empty() {
        cluster(pod, settings)
    } else {
        settings.host.clone()
    };
    if let Some(own) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        append(&mut config.servers, own.nameservers.iter().flatten());
        append(&mut config.searches, own.searches.iter().flatten());
        for option in own.options.iter().flatten() {
            let name = option.name.as_deref().unwrap_or_default();
            config.options.retain(|existing| existing.split(':').next() != Some(name));
            config.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name.to_owned(),
            });
        }
    }
    config.servers.truncate(MAX_SERVERS);
    config.searches.truncate(MAX_SEARCHES);
    config
}

fn cluster(pod: &Pod, settings: &DnsSettings) -> DnsConfig {
    let mut searches = Vec::new();
    if !settings.domain.is_empty() {
        let domain = &settings.domain;
        searches = vec![format!("{}.svc.{domain}", identity::namespace(pod)), format!("svc.{domain}"), domain.clone()];
    }
    append(&mut searches, settings.host.searches.iter());
    DnsConfig {
        servers: settings.servers.iter().map(ToString::to_string).collect(),
        searches,
        options: vec!["ndots:5".to_owned()],
    }
}

fn append<'a>(list: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for entry in more {
        if !list.contains(entry) {
            list.push(entry.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::sandbox::tests::pod;

    fn settings() -> DnsSettings {
        DnsSettings {
            servers: vec!["10.96.0.10".parse().unwrap()],
            domain: "cluster.local".to_owned(),
            host: parse("# c\nnameserver 192.0.2.1\nsearch lan\noptions edns0\n"),
        }
    }

    #[test]
    fn the_policy_chooses_the_servers() {
        let of = |spec: serde_json::Value| of_pod(&pod(spec), &settings());
        let first = of(json!({"containers": []}));
        assert_eq!(first.servers, ["10.96.0.10"]);
        assert_eq!(first.searches, ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"]);
        assert_eq!(first.options, ["ndots:5"]);
        assert_eq!(of(json!({"containers": [], "hostNetwork": true})), settings().host);
        assert_eq!(
            of(json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"})).servers,
            ["10.96.0.10"]
        );
        assert_eq!(of(json!({"containers": [], "dnsPolicy": "Default"})), settings().host);
        let none = of(
            json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}]}}),
        );
        assert_eq!((none.servers, none.options), (vec!["1.1.1.1".to_owned()], vec!["ndots:2".to_owned()]));
    }

    #[test]
    fn own_options_replace_the_clusters() {
        let config = of_pod(
            &pod(
                json!({"containers": [], "dnsConfig": {"options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}]}}),
            ),
            &settings(),
        );
        assert_eq!(config.options, ["ndots:1", "edns0"]);
    }
}
