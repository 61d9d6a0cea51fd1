//! The rules for what belongs to the whole pod: names, DNS, claims for devices, overhead.

use super::resources;
use crate::check::{self, Errors};
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::value::{Map, Value};
use std::collections::HashSet;

/// The most name servers a pod may name.
const NAME_SERVERS: usize = 3;
/// The most domains it may search, and their length together.
const SEARCHES: (usize, usize) = (32, 2048);

pub(super) fn check_whole(errors: &mut Errors, path: &Path, spec: &Map) {
    check_dns(errors, &path.child("dnsConfig"), check::part(spec, "dnsConfig"));
    check_claims(errors, &path.child("resourceClaims"), spec);
    let policy = spec.str("preemptionPolicy");
    let known = ["Never", "PreemptLowerPriority"];
    check::optional_one_of(errors, &path.child("preemptionPolicy"), policy, &known);
    for (name, amount) in check::part(spec, "overhead").iter() {
        if super::amount(amount).is_negative() {
            let path = path.child("overhead").key(name);
            errors.push(FieldError::invalid(path, amount.clone(), check::NOT_NEGATIVE));
        }
    }
    resources::check_resources(errors, &path.child("resources"), check::part(spec, "resources"));
    if let Some(system) = spec.get("os").and_then(Value::as_map) {
        check::one_of(errors, &path.child("os").child("name"), system.str("name"), &["linux", "windows"]);
    }
    let gated = !check::list(spec, "schedulingGates").is_empty();
    if gated && !spec.str("nodeName").is_empty() {
        let wrong = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden(path.child("nodeName"), wrong));
    }
}

fn check_dns(errors: &mut Errors, path: &Path, config: &Map) {
    let servers = check::list(config, "nameservers");
    if servers.len() > NAME_SERVERS {
        let wrong = format!("must not have more than {NAME_SERVERS} nameservers");
        errors.push(FieldError::invalid(path.child("nameservers"), Value::from(servers), wrong));
    }
    for (index, server) in check::texts(config, "nameservers") {
        check::ip(errors, &path.child("nameservers").index(index), server);
    }
    let searches = check::list(config, "searches");
    let length: usize = check::texts(config, "searches").map(|(_, domain)| domain.len() + 1).sum();
    if searches.len() > SEARCHES.0 {
        let wrong = format!("must not have more than {} search paths", SEARCHES.0);
        errors.push(FieldError::invalid(path.child("searches"), Value::from(searches), wrong));
    }
    if length.saturating_sub(1) > SEARCHES.1 {
        let wrong = format!("must not have more than {} characters (including spaces) in the search list", SEARCHES.1);
        errors.push(FieldError::invalid(path.child("searches"), Value::from(searches), wrong));
    }
    for (index, domain) in check::texts(config, "searches") {
        let domain = if domain == "." { "" } else { domain.trim_end_matches('.') };
        // Underscores occur in service records, and a single dot is the root.
        if !domain.is_empty() {
            let plain = domain.replace('_', "-");
            check::named(errors, &path.child("searches").index(index), &plain, names::dns1123_subdomain);
        }
    }
    for (index, option) in check::maps(config, "options") {
        if option.str("name").is_empty() {
            errors.push(FieldError::required(path.child("options").index(index), "must not be empty"));
        }
    }
}

/// Each claim for devices is one that exists or one made from a template.
fn check_claims(errors: &mut Errors, path: &Path, spec: &Map) {
    let mut seen = HashSet::new();
    for (index, claim) in check::maps(spec, "resourceClaims") {
        let path = path.index(index);
        let name = claim.str("name");
        check::required_named(errors, &path.child("name"), name, names::dns1123_label);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        match (check::set(claim, "resourceClaimName"), check::set(claim, "resourceClaimTemplateName")) {
            (true, true) => {
                let wrong = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.push(FieldError::invalid(&path, Value::Map(claim.clone()), wrong));
            }
            (false, false) => {
                let wrong = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.push(FieldError::invalid(&path, Value::Map(claim.clone()), wrong));
            }
            _ => {}
        }
    }
}
