//! Values that carry their unit: bytes, networks, port ranges.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number of bytes, written as a Kubernetes quantity (`2Gi`, `512Mi`, `1G`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// An IP network such as `10.244.0.0/16`; host bits must be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr(IpNet);

/// An inclusive range of ports such as `30000-32767`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port, itself included.
    pub last: u16,
}

/// Why a value with a unit cannot be read; the text says what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

const SUFFIXES: [(&str, u64); 8] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
];

impl Bytes {
    /// The size in MiB, rounded down: what libvirt and QEMU count in.
    pub const fn mebibytes(self) -> u64 {
        self.0 >> 20
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError(format!("{text:?} is not a size; write it as 512Mi, 2Gi or 20G"));
        let (digits, factor) = SUFFIXES
            .iter()
            .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|rest| (rest, *factor)))
            .unwrap_or((text, 1));
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        count.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fitting =
            SUFFIXES[..4].iter().rev().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match fitting {
            Some((suffix, factor)) => write!(f, "{}{suffix}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Cidr {
    /// The network itself.
    pub const fn net(self) -> IpNet {
        self.0
    }

    /// Whether the two networks share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.0.contains(&other.0) || other.0.contains(&self.0)
    }

    /// The `n`th address counted from the network address, if it is inside.
    pub fn nth(self, n: u32) -> Option<std::net::IpAddr> {
        let address = match self.0.network() {
            std::net::IpAddr::V4(base) => std::net::IpAddr::V4(u32::from(base).checked_add(n)?.into()),
            std::net::IpAddr::V6(base) => std::net::IpAddr::V6(u128::from(base).checked_add(u128::from(n))?.into()),
        };
        self.0.contains(&address).then_some(address)
    }
}

impl FromStr for Cidr {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let net: IpNet =
            text.parse().map_err(|_| UnitError(format!("{text:?} is not a network; write it as 10.244.0.0/16")))?;
        if net.trunc() != net {
            return Err(UnitError(format!("{text:?} has host bits set; the network is {}", net.trunc())));
        }
        Ok(Self(net))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PortRange {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError(format!("{text:?} is not a range of ports; write it as 30000-32767"));
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let range = Self { first: first.parse().map_err(|_| wrong())?, last: last.parse().map_err(|_| wrong())? };
        if range.first == 0 || range.first > range.last { Err(wrong()) } else { Ok(range) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Reads and writes the type as the string that `FromStr` and `Display` know, and says so in the JSON Schema.
macro_rules! as_string {
    ($type:ty, $name:literal, $pattern:literal) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "format": $name })
            }
        }
    };
}

as_string!(Bytes, "size", "^[0-9]+(Ki|Mi|Gi|Ti|k|M|G|T)?$");
as_string!(Cidr, "cidr", "^[0-9a-fA-F.:]+/[0-9]+$");
as_string!(PortRange, "port-range", "^[0-9]+-[0-9]+$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print_as_kubernetes_quantities() {
        for (text, bytes) in [("2Gi", 2 << 30), ("512Mi", 512 << 20), ("20G", 20_000_000_000), ("7", 7)] {
            assert_eq!(text.parse::<Bytes>().unwrap(), Bytes(bytes));
        }
        assert_eq!(Bytes(2 << 30).to_string(), "2Gi");
        assert_eq!(Bytes(1536 << 20).to_string(), "1536Mi");
        for wrong in ["", "Gi", "-1Gi", "1.5Gi", "99999999999Ti", "2GB"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn networks_with_host_bits_are_refused_with_the_right_network() {
        let error = "10.0.0.1/24".parse::<Cidr>().unwrap_err();
        assert!(error.to_string().ends_with("the network is 10.0.0.0/24"));
    }

    #[test]
    fn port_ranges_run_forwards() {
        assert!("32767-30000".parse::<PortRange>().is_err());
        assert!("0-5".parse::<PortRange>().is_err());
        assert_eq!("30000-32767".parse::<PortRange>().unwrap().to_string(), "30000-32767");
    }

    #[test]
    fn the_nth_address_stays_inside() {
        let net: Cidr = "192.168.1.0/30".parse().unwrap();
        assert_eq!(net.nth(3).unwrap().to_string(), "192.168.1.3");
        assert_eq!(net.nth(4), None);
    }
}
