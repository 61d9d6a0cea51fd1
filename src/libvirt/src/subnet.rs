//! Finding an address range that nobody on this machine uses.

use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::Ipv4Net;

/// Ranges to try, in this order: a corner of 10/8 that common VPNs, clouds and Kubernetes defaults leave alone,
/// then one of 172.16/12.
const CANDIDATES: [(Ipv4Addr, u8); 2] = [(Ipv4Addr::new(10, 87, 0, 0), 16), (Ipv4Addr::new(172, 30, 0, 0), 16)];

/// The first /24 that overlaps none of `used`.
pub fn choose(used: &[Ipv4Net]) -> Option<Ipv4Net> {
    CANDIDATES
        .iter()
        .filter_map(|(address, prefix)| Ipv4Net::new(*address, *prefix).ok())
        .find_map(|range| range.subnets(24).ok()?.find(|candidate| !used.iter().any(|other| overlap(candidate, other))))
}

/// Whether two ranges have an address in common.
pub fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}

/// The ranges this machine has routes to, read from the kernel; the default route does not count.
pub fn host_routes() -> std::io::Result<Vec<Ipv4Net>> {
    let text = std::fs::read_to_string(Path::new("/proc/net/route"))?;
    Ok(parse_routes(&text))
}

/// A bridge name of at most 15 characters, the kernel's limit, that is none of `used`.
pub fn bridge_name(cluster: &str, used: &[String]) -> String {
    let plain: String = cluster.chars().filter(char::is_ascii_alphanumeric).take(10).collect();
    let first = format!("pv-{plain}");
    let taken = |name: &String| used.contains(name) || Path::new("/sys/class/net").join(name).exists();
    if !taken(&first) {
        return first;
    }
    (0..100).map(|n| format!("{first}{n}")).find(|name| !taken(name)).unwrap_or(first)
}

fn parse_routes(text: &str) -> Vec<Ipv4Net> {
    let field = |line: &str, n: usize| u32::from_str_radix(line.split_whitespace().nth(n)?, 16).ok();
    let address = |word: u32| Ipv4Addr::from(word.to_ne_bytes());
    text.lines()
        .skip(1)
        .filter_map(|line| Ipv4Net::with_netmask(address(field(line, 1)?), address(field(line, 7)?)).ok())
        .filter(|net| net.prefix_len() > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn first_free_range_is_taken() {
        assert_eq!(choose(&[]), Some(net("10.87.0.0/24")));
        assert_eq!(choose(&[net("10.87.0.0/24"), net("10.87.1.128/25")]), Some(net("10.87.2.0/24")));
        assert_eq!(choose(&[net("10.0.0.0/8")]), Some(net("172.30.0.0/24")));
        assert_eq!(choose(&[net("10.0.0.0/8"), net("172.16.0.0/12")]), None);
    }

    #[test]
    fn routes_are_read_as_the_kernel_writes_them() {
        let text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                    eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                    eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(parse_routes(text), vec![net("192.0.2.0/24")]);
    }

    #[test]
    fn bridge_names_fit_the_kernel() {
        let first = bridge_name("a-very-long-cluster-name", &[]);
        assert_eq!(first, "pv-averylongc");
        let second = bridge_name("a-very-long-cluster-name", &[first]);
        assert_eq!(second, "pv-averylongc0");
        assert!(second.len() <= 15);
    }
}
