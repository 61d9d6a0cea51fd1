//! The hosts file that containers see.

use k8s_openapi::api::core::v1::{HostAlias, Pod};

use super::identity;

const HEADER: &str = "# Kubernetes-managed hosts file.\n";

/// The hosts file of a pod: with its own network, its addresses and name; else the node's file. Aliases follow.
pub fn file(pod: &Pod, pod_ips: &[String], hostname: &str, node_file: &str) -> String {
    let mut text = String::from(HEADER);
    if identity::host_network(pod) {
        text.push_str(node_file);
    } else {
        text.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        text.push_str(
            "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
        );
        let domain = domain_name(pod, hostname);
        for ip in pod_ips {
            match &domain {
                Some(domain) => text.extend([ip, "\t", domain, "\t", hostname, "\n"]),
                None => text.extend([ip, "\t", hostname, "\n"]),
            }
        }
    }
    let aliases: Vec<&HostAlias> = pod.spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten()).collect();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
            text.extend([&alias.ip, "\t", &names, "\n"]);
        }
    }
    text
}

fn domain_name(pod: &Pod, hostname: &str) -> Option<String> {
    let subdomain = pod.spec.as_ref()?.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty())?;
    Some(format!("{hostname}.{subdomain}.{}.svc.cluster.local", identity::namespace(pod)))
}

/// The name a pod's processes see; hosts files allow 63 characters.
pub fn hostname(pod: &Pod) -> String {
    let own = pod.spec.as_ref().and_then(|spec| spec.hostname.as_deref()).filter(|name| !name.is_empty());
    let name = own.unwrap_or_else(|| identity::name(pod));
    let cut: String = name.chars().take(63).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::sandbox::tests::pod;

    #[test]
    fn a_pod_finds_itself_and_its_aliases() {
        let pod = pod(json!({"containers": [], "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}));
        let text = file(&pod, &["10.244.0.9".to_owned()], "web", "");
        assert!(text.contains("10.244.0.9\tweb\n") && text.ends_with("1.2.3.4\ta\tb\n"), "{text}");
    }

    #[test]
    fn long_names_are_cut_to_a_host_name() {
        let mut pod = pod(json!({"containers": []}));
        pod.metadata.name = Some(format!("{}-{}", "a".repeat(62), "b".repeat(20)));
        assert_eq!(hostname(&pod), "a".repeat(62));
    }
}
