//! What a pod uses: itself, and what its containers request and are limited to.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::quantity::Quantity;
use apimachinery::value::Map;
use apimachinery::{Object, Value};

use super::{Amounts, amounts, one};

/// The names of compute resources, as containers request them.
const NATIVE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// What every container must say if a quota limits it.
const MUST_BE_SAID: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

pub(super) fn measures(name: &str) -> bool {
    let plain = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    let extended = name.strip_prefix("requests.").is_some_and(is_extended);
    let pages = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
    name == "pods" || NATIVE.contains(&plain) || pages || extended
}

/// Devices and the like, which have a domain that is not ours.
fn is_extended(name: &str) -> bool {
    name.split_once('/').is_some_and(|(domain, _)| domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io"))
}

pub(super) fn add_usage(used: &mut Amounts, pod: &Object) {
    if has_ended(pod) {
        return;
    }
    let requests = total(pod, "requests");
    let limits = total(pod, "limits");
    used.extend(named(&requests, &limits));
}

/// A pod that ran to its end takes up nothing but its place in storage.
fn has_ended(pod: &Object) -> bool {
    matches!(pod.str_at(&["status", "phase"]), "Succeeded" | "Failed")
}

/// Requests and limits under the names quotas use.
fn named(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::from([("pods".to_owned(), one())]);
    for (name, amount) in requests {
        if NATIVE.contains(&name.as_str()) || name.starts_with("hugepages-") {
            used.insert(name.clone(), *amount);
            used.insert(format!("requests.{name}"), *amount);
        } else if is_extended(name) {
            used.insert(format!("requests.{name}"), *amount);
        }
    }
    for name in NATIVE {
        if let Some(amount) = limits.get(name) {
            used.insert(format!("limits.{name}"), *amount);
        }
    }
    used
}

/// What all containers of a pod come to: those that run side by side together, or the largest that runs before.
fn total(pod: &Object, kind: &str) -> Amounts {
    let mut sum = Amounts::new();
    for container in pod.list_at(&["spec", "containers"]) {
        add(&mut sum, &of_container(pod, container, "containerStatuses", kind));
    }
    let mut sidecars = Amounts::new();
    let mut before = Amounts::new();
    for container in pod.list_at(&["spec", "initContainers"]) {
        let own = of_container(pod, container, "initContainerStatuses", kind);
        if container.str("restartPolicy") == "Always" {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            raise(&mut before, &sidecars);
        } else {
            let mut with_sidecars = own;
            add(&mut with_sidecars, &sidecars);
            raise(&mut before, &with_sidecars);
        }
    }
    raise(&mut sum, &before);
    // What the pod says as a whole counts instead.
    let whole = pod.at(&["spec", "resources", kind]).and_then(Value::as_map);
    sum.extend(whole.map(amounts).unwrap_or_default());
    for (name, overhead) in amounts(pod.map_at(&["spec", "overhead"])) {
        match sum.get_mut(&name) {
            Some(amount) => *amount += overhead,
            None if kind == "requests" => drop(sum.insert(name, overhead)),
            None => {}
        }
    }
    sum
}

/// What a container asks for, or still has while it is being made smaller.
fn of_container(pod: &Object, container: &Value, statuses: &str, kind: &str) -> Amounts {
    let of = |value: &Value, path: &[&str]| value.at(path).and_then(Value::as_map).map(amounts).unwrap_or_default();
    let mut asked = of(container, &["resources", kind]);
    let statuses = pod.list_at(&["status", statuses]);
    if let Some(status) = statuses.iter().find(|status| status.str("name") == container.str("name")) {
        let mut given = of(status, &["resources", kind]);
        if kind == "requests" {
            raise(&mut given, &of(status, &["allocatedResources"]));
        }
        given.retain(|name, _| asked.contains_key(name));
        raise(&mut asked, &given);
    }
    asked
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *sum.entry(name.clone()).or_insert(Quantity::ZERO) += *amount;
    }
}

fn raise(least: &mut Amounts, others: &Amounts) {
    for (name, amount) in others {
        let known = least.entry(name.clone()).or_insert(*amount);
        *known = (*known).max(*amount);
    }
}

/// The containers that do not say what a quota limits: `must specify cpu for: a,b; memory for: a`.
pub(super) fn missing(names: &[String], pod: &Object) -> Option<String> {
    let wanted: Vec<&String> = names.iter().filter(|name| MUST_BE_SAID.contains(&name.as_str())).collect();
    let whole =
        |kind: &str| pod.at(&["spec", "resources", kind]).and_then(Value::as_map).map(amounts).unwrap_or_default();
    let of_pod = named(&whole("requests"), &whole("limits"));
    let mut silent: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let lists = [["spec", "containers"], ["spec", "initContainers"]];
    for container in lists.iter().flat_map(|path| pod.list_at(path)) {
        let part =
            |kind: &str| amounts(container.at(&["resources", kind]).and_then(Value::as_map).unwrap_or(&Map::new()));
        let said = named(&part("requests"), &part("limits"));
        for name in &wanted {
            if !said.contains_key(*name) && !of_pod.contains_key(*name) {
                silent.entry(name).or_default().insert(container.str("name"));
            }
        }
    }
    let told = silent.iter().map(|(name, containers)| {
        let containers: Vec<&str> = containers.iter().copied().collect();
        format!("{name} for: {}", containers.join(","))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| format!("must specify {}", told.join("; ")))
}
