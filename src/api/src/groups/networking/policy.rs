//! Network policies, addresses and service ranges.

use crate::check::{self, Errors};
use crate::fill::{each, fill, fill_text, spec};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, NameRule, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::object::Object;
use apimachinery::value;
use apimachinery::value::{Map, Value};

pub(super) const STRATEGY: Strategy = Strategy { default, validate, generation: true, ..NOOP };

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Pod-Selector", |policy, _| Value::from(print::selector(policy.at(&["spec", "podSelector"])))),
    AGE,
];

fn default(policy: &mut Object) {
    let spec = spec(policy);
    fill(spec, "podSelector", Value::map());
    for list in ["ingress", "egress"] {
        for rule in each(spec, list) {
            each(rule, "ports").for_each(|port| fill_text(port, "protocol", "TCP"));
        }
    }
    if check::list(spec, "policyTypes").is_empty() {
        let egress = !check::list(spec, "egress").is_empty();
        let types = if egress { value!(["Ingress", "Egress"]) } else { value!(["Ingress"]) };
        spec.insert("policyTypes", types);
    }
}

fn validate(policy: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = policy.map_at(&["spec"]);
    if let Some(selector) = spec.get("podSelector") {
        check::selector(&mut errors, &path.child("podSelector"), selector);
    }
    for (list, side) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in check::maps(spec, list) {
            check_rule(&mut errors, &path.child(list).index(index), rule, side);
        }
    }
    for (index, kind) in check::list(spec, "policyTypes").iter().enumerate() {
        let path = path.child("policyTypes").index(index);
        check::one_of(&mut errors, &path, kind.as_str().unwrap_or_default(), &["Egress", "Ingress"]);
    }
    errors
}

fn check_rule(errors: &mut Errors, path: &Path, rule: &Map, side: &str) {
    for (index, port) in check::maps(rule, "ports") {
        let path = path.child("ports").index(index);
        let protocol = port.str("protocol");
        check::one_of(errors, &path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
        if let Some(value) = port.get("port") {
            check::port_or_name(errors, &path.child("port"), value);
        }
    }
    for (index, peer) in check::maps(rule, side) {
        let path = path.child(side).index(index);
        for key in ["podSelector", "namespaceSelector"] {
            if let Some(selector) = peer.get(key) {
                check::selector(errors, &path.child(key), selector);
            }
        }
        let block = peer.get("ipBlock").and_then(Value::as_map);
        let others = peer.contains_key("podSelector") || peer.contains_key("namespaceSelector");
        match block {
            Some(_) if others => {
                let wrong = "may not specify both ipBlock and another peer";
                errors.push(FieldError::forbidden(&path, wrong));
            }
            Some(block) => check_block(errors, &path.child("ipBlock"), block),
            None if !others => errors.push(FieldError::required(&path, "must specify a peer")),
            None => {}
        }
    }
}

fn check_block(errors: &mut Errors, path: &Path, block: &Map) {
    let range = block.str("cidr");
    if range.is_empty() {
        errors.push(FieldError::required(path.child("cidr"), ""));
    } else if range.parse::<ipnet::IpNet>().is_err() {
        let wrong = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        errors.push(FieldError::invalid(path.child("cidr"), range, wrong));
    }
}

pub(super) const ADDRESS: Strategy = Strategy { name: NameRule::IpAddress, ..NOOP };

pub(super) const ADDRESS_COLUMNS: &[Column] = &[
    NAME,
    Column::new("ParentRef", |address, _| {
        let parent = address.map_at(&["spec", "parentRef"]);
        let steps = ["group", "resource", "namespace", "name"].map(|key| parent.str(key));
        let steps: Vec<_> = steps.into_iter().filter(|step| !step.is_empty()).collect();
        Value::from(steps.join("/"))
    }),
    AGE,
];

pub(super) const RANGE: Strategy = Strategy {
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    ..NOOP
};

pub(super) const RANGE_COLUMNS: &[Column] = &[
    NAME,
    Column::new("CIDRs", |range, _| {
        let ranges = range.list_at(&["spec", "cidrs"]);
        Value::from(print::joined_plain(ranges.iter().filter_map(Value::as_str)))
    }),
    AGE,
];
