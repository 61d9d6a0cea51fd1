//! The flags of addresses and ports of Services.

use std::ops::RangeInclusive;

use clap::Args;
use ipnet::IpNet;

/// Addresses and ports of Services.
#[derive(Args, Clone, Debug)]
pub struct ServiceArgs {
    /// The networks cluster IPs come from, at most one of each family.
    #[arg(long, value_delimiter = ',', default_value = "10.0.0.0/24")]
    pub service_cluster_ip_range: Vec<IpNet>,
    /// The ports node ports come from.
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    pub service_node_port_range: PortRange,
    /// How the endpoints of the `kubernetes` Service are kept.
    #[arg(long, default_value = "lease")]
    pub endpoint_reconciler_type: String,
}

/// An inclusive range of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange(pub RangeInclusive<u16>);

fn port_range(text: &str) -> Result<PortRange, String> {
    let wrong = || "expected a range of ports such as 30000-32767".to_owned();
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (first, last) = if let Some((first, last)) = text.split_once('-') {
        (number(first)?, number(last)?)
    } else {
        let (base, size) = text.split_once('+').ok_or_else(wrong)?;
        let base = number(base)?;
        (base, base.checked_add(number(size)?).ok_or_else(wrong)?)
    };
    if first == 0 || first > last { Err(wrong()) } else { Ok(PortRange(first..=last)) }
}
