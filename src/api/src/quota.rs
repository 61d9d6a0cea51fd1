//! What an object uses of what quotas limit, by kind; whoever charges quotas and whoever counts anew must agree on it.

mod pod;
mod scope;

use std::collections::BTreeMap;

use apimachinery::quantity::{Format, Quantity};
use apimachinery::value::Map;
use apimachinery::{Object, Value};

use crate::ResourceDescriptor;
pub use scope::{conditions, holds};

/// Amounts by the names quotas use.
pub type Amounts = BTreeMap<String, Quantity>;

/// The amounts of a map of quantities; what is none counts as nothing.
pub fn amounts(map: &Map) -> Amounts {
    map.iter().map(|(name, value)| (name.as_str().to_owned(), quantity(value))).collect()
}

/// The quantity in a field.
fn quantity(value: &Value) -> Quantity {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.parse().unwrap_or(Quantity::ZERO)
}

fn one() -> Quantity {
    Quantity::new(1, Format::DecimalSi)
}

fn count(number: usize) -> Quantity {
    Quantity::new(i64::try_from(number).unwrap_or(i64::MAX), Format::DecimalSi)
}

/// Measures the objects of one kind.
pub struct Meter {
    group: &'static str,
    plural: &'static str,
    /// `count/pods`, `count/deployments.apps`.
    counted_as: String,
}

/// What is never counted.
const IGNORED: &[(&str, &str)] = &[("", "events"), ("", "bindings"), ("events.k8s.io", "events")];
/// The kinds that had a limit of their own before all kinds were counted.
const NAMED: &[&str] = &["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

impl Meter {
    /// The meter for a kind; `None` for kinds that are not counted.
    pub fn of(descriptor: &ResourceDescriptor) -> Option<Self> {
        let (group, plural) = (descriptor.group, descriptor.plural);
        if !descriptor.is_stored() || IGNORED.contains(&(group, plural)) {
            return None;
        }
        let dot = if group.is_empty() { "" } else { "." };
        Some(Self { group, plural, counted_as: format!("count/{plural}{dot}{group}") })
    }

    fn is(&self, plural: &str) -> bool {
        self.group.is_empty() && self.plural == plural
    }

    /// True for the kind that claims devices.
    pub fn is_claim_of_devices(&self) -> bool {
        (self.group, self.plural) == ("resource.k8s.io", "resourceclaims")
    }

    /// The kind as quotas name it: `pods`, `deployments.apps`.
    pub fn resource(&self) -> &str {
        self.counted_as.trim_start_matches("count/")
    }

    /// Whether a name in a quota is about this kind.
    pub fn measures(&self, name: &str) -> bool {
        if name == self.counted_as {
            return true;
        }
        if self.is("pods") {
            return pod::measures(name);
        }
        if self.is("services") {
            return matches!(name, "services" | "services.nodeports" | "services.loadbalancers");
        }
        if self.is("persistentvolumeclaims") {
            let of_class = name.contains(CLASS) && (name.ends_with("requests.storage") || name.ends_with(CLAIMS));
            return of_class || matches!(name, "requests.storage" | CLAIMS);
        }
        if self.is_claim_of_devices() {
            return name.ends_with(DEVICES);
        }
        self.group.is_empty() && NAMED.contains(&self.plural) && name == self.plural
    }

    /// What an object uses.
    pub fn usage(&self, object: &Object) -> Amounts {
        let mut used = Amounts::from([(self.counted_as.clone(), one())]);
        if self.is("pods") {
            pod::add_usage(&mut used, object);
        } else if self.is("services") {
            add_service(&mut used, object);
        } else if self.is("persistentvolumeclaims") {
            add_claim(&mut used, object);
        } else if self.is_claim_of_devices() {
            add_devices(&mut used, object);
        } else if self.group.is_empty() && NAMED.contains(&self.plural) {
            used.insert(self.plural.to_owned(), one());
        }
        used
    }

    /// What of these names the object must say and does not, as a complaint.
    pub fn missing(&self, names: &[String], object: &Object) -> Option<String> {
        if self.is("pods") { pod::missing(names, object) } else { None }
    }

    /// True for the kind whose objects have scopes of running.
    pub fn is_pod(&self) -> bool {
        self.is("pods")
    }

    /// True for the kind that names a class of volume attributes.
    pub fn is_volume_claim(&self) -> bool {
        self.is("persistentvolumeclaims")
    }

    /// True for the kind that uses ports and balancers.
    pub fn is_service(&self) -> bool {
        self.is("services")
    }
}

fn add_service(used: &mut Amounts, service: &Object) {
    used.insert("services".to_owned(), one());
    let ports = service.list_at(&["spec", "ports"]);
    let node_ports = match service.str_at(&["spec", "type"]) {
        "NodePort" => ports.len(),
        "LoadBalancer" => {
            used.insert("services.loadbalancers".to_owned(), one());
            let allocates = service.at(&["spec", "allocateLoadBalancerNodePorts"]) != Some(&Value::Bool(false));
            let given = |port: &&Value| port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) != 0;
            if allocates { ports.len() } else { ports.iter().filter(given).count() }
        }
        _ => 0,
    };
    used.insert("services.nodeports".to_owned(), count(node_ports));
}

const CLAIMS: &str = "persistentvolumeclaims";
const CLASS: &str = ".storageclass.storage.k8s.io/";

fn add_claim(used: &mut Amounts, claim: &Object) {
    used.insert(CLAIMS.to_owned(), one());
    let old_name = claim.annotation("volume.beta.kubernetes.io/storage-class");
    let class = old_name.unwrap_or_else(|| claim.str_at(&["spec", "storageClassName"]));
    let asked = claim.at(&["spec", "resources", "requests", "storage"]).map(quantity);
    let allocated = claim.at(&["status", "allocatedResources", "storage"]).map(quantity);
    let storage = asked.map(|asked| allocated.map_or(asked, |allocated| asked.max(allocated)));
    // Storage is given in whole bytes.
    let storage = storage.map(|storage| Quantity::new(storage.value(), storage.format()));
    used.extend(storage.map(|storage| ("requests.storage".to_owned(), storage)));
    if !class.is_empty() {
        used.insert(format!("{class}{CLASS}{CLAIMS}"), one());
        used.extend(storage.map(|storage| (format!("{class}{CLASS}requests.storage"), storage)));
    }
}

const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// How many devices a claim for all of them may be given.
const ALL_DEVICES: i64 = 32;

fn add_devices(used: &mut Amounts, claim: &Object) {
    for request in claim.list_at(&["spec", "devices", "requests"]) {
        let mut most: BTreeMap<&str, i64> = BTreeMap::new();
        let alternatives = request.get("exactly").into_iter().chain(request.list("firstAvailable"));
        for wanted in alternatives {
            let number = match wanted.str("allocationMode") {
                "All" => ALL_DEVICES,
                _ => wanted.get("count").and_then(Value::as_i64).unwrap_or(1),
            };
            // Of the alternatives of one request only one is taken.
            let known = most.entry(wanted.str("deviceClassName")).or_default();
            *known = number.max(*known);
        }
        for (class, number) in most {
            let total = used.entry(format!("{class}{DEVICES}")).or_insert(Quantity::ZERO);
            *total += Quantity::new(number, Format::DecimalSi);
        }
    }
}

#[cfg(test)]
mod tests;
