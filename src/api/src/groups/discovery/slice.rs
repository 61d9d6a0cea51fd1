//! Endpoint slices.

use crate::check::{self, Errors};
use crate::fill::{each, fill, fill_text};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::Value;

/// The most addresses of one endpoint.
const MOST_ADDRESSES: usize = 100;

pub(super) const STRATEGY: Strategy = Strategy {
    default: |slice| {
        for port in each(slice.as_map_mut(), "ports") {
            fill(port, "name", "");
            fill_text(port, "protocol", "TCP");
        }
    },
    validate,
    validate_update: |new, old| {
        let mut errors = Errors::new();
        let path = Path::new("addressType");
        check::unchanged(&mut errors, &path, new.get("addressType"), old.get("addressType"));
        errors
    },
    generation: true,
    ..NOOP
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("AddressType", |slice, _| Value::from(slice.str_at(&["addressType"]))),
    Column::new("Ports", |slice, _| {
        let ports = slice.list_at(&["ports"]);
        let shown = ports.iter().map(|port| match port.get("port").and_then(Value::as_i64) {
            Some(number) => number.to_string(),
            None => port.str("name").to_owned(),
        });
        Value::from(first_few(&shown.collect::<Vec<_>>()))
    }),
    Column::new("Endpoints", |slice, _| {
        let endpoints = slice.list_at(&["endpoints"]).iter();
        let addresses = endpoints.flat_map(|one| one.list("addresses")).filter_map(Value::as_str);
        Value::from(first_few(&addresses.map(str::to_owned).collect::<Vec<_>>()))
    }),
    AGE,
];

/// Three of them, and how many more there are.
fn first_few(all: &[String]) -> String {
    match all.len() {
        0 => print::UNSET.to_owned(),
        more @ 4.. => format!("{} + {} more...", all[..3].join(","), more - 3),
        _ => all.join(","),
    }
}

fn validate(slice: &Object) -> Errors {
    let mut errors = Errors::new();
    let kind = slice.str_at(&["addressType"]);
    check::one_of(&mut errors, &Path::new("addressType"), kind, &["FQDN", "IPv4", "IPv6"]);
    let endpoints = slice.list_at(&["endpoints"]);
    if endpoints.len() > 1000 {
        errors.push(FieldError::too_many("endpoints", endpoints.len(), 1000));
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = Path::new("endpoints").index(index).child("addresses");
        let addresses = endpoint.list("addresses");
        if addresses.len() > MOST_ADDRESSES {
            errors.push(FieldError::too_many(&path, addresses.len(), MOST_ADDRESSES));
        }
        if !endpoint.str("hostname").is_empty() {
            let path = Path::new("endpoints").index(index).child("hostname");
            check::named(&mut errors, &path, endpoint.str("hostname"), names::dns1123_label);
        }
        if addresses.is_empty() {
            errors.push(FieldError::required(&path, "must contain at least 1 address"));
        }
        for (at, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
            let fine = match kind {
                "IPv4" => address.parse::<std::net::Ipv4Addr>().is_ok(),
                "IPv6" => address.parse::<std::net::Ipv6Addr>().is_ok(),
                _ => true,
            };
            if !fine {
                let wrong = format!("must be a valid {kind} address");
                errors.push(FieldError::invalid(path.index(at), address, wrong));
            }
            check::no_special_ip(&mut errors, &path.index(at), address);
            if kind == "FQDN" {
                check::named(&mut errors, &path.index(at), address, names::dns1123_subdomain);
            }
        }
    }
    check_ports(&mut errors, slice);
    errors
}

fn check_ports(errors: &mut Errors, slice: &Object) {
    let mut seen = std::collections::HashSet::new();
    for (index, port) in check::maps(slice.as_map(), "ports") {
        let path = Path::new("ports").index(index);
        let name = port.str("name");
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        if !name.is_empty() {
            check::named(errors, &path.child("name"), name, names::dns1123_label);
        }
        if !port.str("appProtocol").is_empty() {
            check::named(errors, &path.child("appProtocol"), port.str("appProtocol"), names::qualified_name);
        }
        let protocol = port.str("protocol");
        check::one_of(errors, &path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
    }
}
