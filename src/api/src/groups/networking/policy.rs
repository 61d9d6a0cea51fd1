//! Network policies, addresses and service ranges.

use crate::check::{self, Errors};
use crate::fill::{each, fill, fill_text, spec};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, NameRule, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
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
    if check::list(spec, "policyTypes").len() > 2 {
        let wrong = "may not specify more than two policyTypes";
        let types = Value::from(check::list(spec, "policyTypes"));
        errors.push(FieldError::invalid(path.child("policyTypes"), types, wrong));
        return errors;
    }
    for (index, kind) in check::list(spec, "policyTypes").iter().enumerate() {
        let path = path.child("policyTypes").index(index);
        check::one_of(&mut errors, &path, kind.as_str().unwrap_or_default(), &["Egress", "Ingress"]);
    }
    errors
}

fn check_rule(errors: &mut Errors, path: &Path, rule: &Map, side: &str) {
    for (index, port) in check::maps(rule, "ports") {
        check_port(errors, &path.child("ports").index(index), port);
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
        return;
    }
    check::cidr(errors, &path.child("cidr"), range);
    for (index, except) in check::texts(block, "except") {
        let path = path.child("except").index(index);
        check::cidr(errors, &path, except);
        let inner = except.parse::<ipnet::IpNet>().ok().zip(range.parse::<ipnet::IpNet>().ok());
        if inner.is_some_and(|(except, range)| except == range || !range.contains(&except)) {
            errors.push(FieldError::invalid(path, except, format!("must be a strict subset of cidr: {range}")));
        }
    }
}

/// The end of a range of ports needs a beginning that is a number.
fn check_port(errors: &mut Errors, path: &Path, port: &Map) {
    let protocol = port.str("protocol");
    check::one_of(errors, &path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
    let first = port.get("port").filter(|first| !first.is_null());
    if let Some(first) = first {
        check::port_or_name(errors, &path.child("port"), first);
    }
    let Some(last) = check::number(port, "endPort") else { return };
    let path = path.child("endPort");
    match first {
        None => errors.push(FieldError::invalid(path, last, "must specify port when endPort is used")),
        Some(Value::Int(first)) => {
            if last < *first {
                errors.push(FieldError::invalid(&path, last, "must be greater than or equal to `port`"));
            }
            check::port(errors, &path, last);
        }
        Some(_) => {
            let wrong = "may not be specified when `port` is non-numeric";
            errors.push(FieldError::invalid(path, last, wrong));
        }
    }
}

pub(super) const ADDRESS: Strategy = Strategy {
    validate: |address| {
        let mut errors = Errors::new();
        let path = Path::new("spec.parentRef");
        let parent = address.map_at(&["spec", "parentRef"]);
        if parent.is_empty() {
            errors.push(FieldError::required(path, ""));
            return errors;
        }
        for key in ["resource", "name"] {
            check::required_named(&mut errors, &path.child(key), parent.str(key), names::path_segment);
        }
        errors
    },
    validate_update: |new, old| {
        let mut errors = Errors::new();
        let parent = ["spec", "parentRef"];
        check::unchanged(&mut errors, &Path::new("spec.parentRef"), new.at(&parent), old.at(&parent));
        errors
    },
    name: NameRule::IpAddress,
    generation: true,
    ..NOOP
};

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
    validate: validate_range,
    validate_update: |new, old| {
        let mut errors = Errors::new();
        // A second family may be added, nothing taken away.
        let (now, before) = (new.list_at(&["spec", "cidrs"]), old.list_at(&["spec", "cidrs"]));
        let path = Path::new("spec.cidrs");
        if !now.starts_with(before) || (now.len() > before.len() && before.len() != 1) {
            errors.push(FieldError::invalid(path, Value::from(now), check::IMMUTABLE));
        }
        errors
    },
    generation: true,
    ..NOOP
};

fn validate_range(range: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec.cidrs");
    let spec = range.map_at(&["spec"]);
    let cidrs = check::list(spec, "cidrs");
    if cidrs.is_empty() {
        errors.push(FieldError::required(&path, "at least one CIDR required"));
    } else if cidrs.len() > 2 {
        let wrong = "may only hold up to 2 values";
        errors.push(FieldError::invalid(&path, Value::from(cidrs), wrong));
    }
    let mut families = std::collections::HashSet::new();
    for (index, text) in check::texts(spec, "cidrs") {
        check::cidr(&mut errors, &path.index(index), text);
        let family = text.contains(':');
        if !families.insert(family) {
            let wrong = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96";
            errors.push(FieldError::invalid(&path, Value::from(cidrs), wrong));
        }
    }
    errors
}

pub(super) const RANGE_COLUMNS: &[Column] = &[
    NAME,
    Column::new("CIDRs", |range, _| {
        let ranges = range.list_at(&["spec", "cidrs"]);
        Value::from(print::joined_plain(ranges.iter().filter_map(Value::as_str)))
    }),
    AGE,
];
