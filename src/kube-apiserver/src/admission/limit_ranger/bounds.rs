//! The bounds of limit ranges: least, most, and how far a limit may exceed its request.

use std::collections::BTreeMap;

use apimachinery::quantity::Quantity;
use apimachinery::value::Map;
use apimachinery::{Object, Value};

/// What bounds are about.
pub(super) enum Bounded<'a> {
    Pod(&'a Object),
    Claim(&'a Object),
}

type Amounts = BTreeMap<String, Quantity>;

/// What is asked for and what is the limit.
struct Resources {
    requests: Amounts,
    limits: Amounts,
}

impl Resources {
    fn of(value: Option<&Value>) -> Self {
        let part = |kind: &str| value.and_then(|value| value.get(kind)).and_then(Value::as_map).map(amounts);
        Self { requests: part("requests").unwrap_or_default(), limits: part("limits").unwrap_or_default() }
    }

    /// All containers of a pod, or what it says as a whole.
    fn of_pod(pod: &Object) -> Self {
        let list = |list: &str| -> Vec<Self> {
            pod.list_at(&["spec", list]).iter().map(|one| Self::of(one.get("resources"))).collect()
        };
        let (main, init) = (list("containers"), list("initContainers"));
        let mut total = Self { requests: Amounts::new(), limits: Amounts::new() };
        for one in &main {
            total.each(one, |sum, amount| *sum += amount);
        }
        for one in &init {
            total.each(one, |sum, amount| *sum = (*sum).max(amount));
        }
        let whole = Self::of(pod.at(&["spec", "resources"]));
        total.requests.extend(whole.requests);
        total.limits.extend(whole.limits);
        total
    }

    fn each(&mut self, other: &Self, merge: fn(&mut Quantity, Quantity)) {
        for (own, others) in [(&mut self.requests, &other.requests), (&mut self.limits, &other.limits)] {
            for (name, amount) in others {
                merge(own.entry(name.clone()).or_insert(Quantity::ZERO), *amount);
            }
        }
    }
}

fn amounts(map: &Map) -> Amounts {
    map.strings().filter_map(|(name, amount)| Some((name.to_owned(), amount.parse().ok()?))).collect()
}

/// Adds what breaks a limit.
pub(super) fn check(object: &Bounded<'_>, limit: &Value, wrong: &mut Vec<String>) {
    match (object, limit.str("type")) {
        (Bounded::Pod(pod), "Container") => {
            for list in ["containers", "initContainers"] {
                for container in pod.list_at(&["spec", list]) {
                    check_one(&Resources::of(container.get("resources")), limit, wrong);
                }
            }
        }
        (Bounded::Pod(pod), "Pod") => check_one(&Resources::of_pod(pod), limit, wrong),
        (Bounded::Claim(claim), "PersistentVolumeClaim") => {
            let requests = Resources::of(claim.at(&["spec", "resources"])).requests;
            // A claim has no limits: what it requests is what it gets.
            check_one(&Resources { limits: requests.clone(), requests }, limit, wrong);
        }
        _ => {}
    }
}

fn check_one(given: &Resources, limit: &Value, wrong: &mut Vec<String>) {
    let kind = limit.str("type");
    let bounds = |field: &str| limit.get(field).and_then(Value::as_map).map(amounts).unwrap_or_default();
    // Claims are told of requests only.
    let claim = kind == "PersistentVolumeClaim";
    for (name, least) in bounds("min") {
        let told = format!("minimum {name} usage per {kind} is {least}");
        match (given.requests.get(&name), given.limits.get(&name)) {
            (None, _) => wrong.push(format!("{told}.  No request is specified")),
            (Some(request), _) if *request < least => wrong.push(format!("{told}, but request is {request}")),
            (_, Some(most)) if *most < least => wrong.push(format!("{told}, but limit is {most}")),
            _ => {}
        }
    }
    for (name, most) in bounds("max") {
        let told = format!("maximum {name} usage per {kind} is {most}");
        match (given.limits.get(&name), given.requests.get(&name)) {
            (None, _) if claim => wrong.push(format!("{told}.  No request is specified")),
            (None, _) => wrong.push(format!("{told}.  No limit is specified")),
            (Some(limit), _) if *limit > most && !claim => wrong.push(format!("{told}, but limit is {limit}")),
            (_, Some(request)) if *request > most => wrong.push(format!("{told}, but request is {request}")),
            _ => {}
        }
    }
    for (name, ratio) in bounds("maxLimitRequestRatio") {
        let told = format!("{name} max limit to request ratio per {kind} is {ratio}");
        let set = |amounts: &Amounts| amounts.get(&name).filter(|amount| !amount.is_zero()).copied();
        match (set(&given.requests), set(&given.limits)) {
            (None, _) => wrong.push(format!("{told}, but no request is specified or request is 0")),
            (_, None) => wrong.push(format!("{told}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                let seen = limit.as_f64() / request.as_f64();
                if seen > ratio.as_f64() {
                    wrong.push(format!("{told}, but provided ratio is {seen:.6}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    fn seen(object: &Bounded<'_>, limit: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        check(object, limit, &mut wrong);
        wrong
    }

    fn pod(resources: &[Value]) -> Object {
        let containers: Value =
            Value::List(resources.iter().map(|one| value!({"name": "c", "resources": (one.clone())})).collect());
        Object::try_from(value!({"spec": {"containers": (containers)}})).unwrap()
    }

    #[test]
    fn containers_keep_within_bounds() {
        let check = |resources: Value, limit: Value, expected: &[&str]| {
            assert_eq!(seen(&Bounded::Pod(&pod(&[resources])), &limit), expected);
        };
        let max = || value!({"type": "Container", "max": {"memory": "2Gi"}});
        check(value!({"limits": {"memory": "2048Mi"}}), max(), &[]);
        check(value!({}), max(), &["maximum memory usage per Container is 2Gi.  No limit is specified"]);
        check(
            value!({"limits": {"memory": "3Gi"}}),
            max(),
            &["maximum memory usage per Container is 2Gi, but limit is 3Gi"],
        );
        let min = || value!({"type": "Container", "min": {"cpu": "1"}});
        check(
            value!({"requests": {"cpu": "500m"}}),
            min(),
            &["minimum cpu usage per Container is 1, but request is 500m"],
        );
        check(value!({}), min(), &["minimum cpu usage per Container is 1.  No request is specified"]);
        let ratio = || value!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}});
        check(value!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}), ratio(), &[]);
        check(
            value!({"requests": {"cpu": "1"}, "limits": {"cpu": "3"}}),
            ratio(),
            &["cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"],
        );
        check(
            value!({"limits": {"cpu": "3"}}),
            ratio(),
            &["cpu max limit to request ratio per Container is 2, but no request is specified or request is 0"],
        );
    }

    #[test]
    fn the_containers_of_a_pod_keep_within_bounds_together() {
        let limit = value!({"type": "Pod", "max": {"cpu": "3"}});
        let two = |cpu: &str| value!({"limits": {"cpu": cpu}});
        assert_eq!(seen(&Bounded::Pod(&pod(&[two("1"), two("2")])), &limit), Vec::<String>::new());
        assert_eq!(
            seen(&Bounded::Pod(&pod(&[two("2"), two("2")])), &limit),
            ["maximum cpu usage per Pod is 3, but limit is 4"]
        );
    }

    #[test]
    fn claims_keep_within_bounds() {
        let limit = value!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}});
        let check = |size: &str, expected: &[&str]| {
            let claim = value!({"spec": {"resources": {"requests": {"storage": size}}}});
            assert_eq!(seen(&Bounded::Claim(&Object::try_from(claim).unwrap()), &limit), expected);
        };
        check("2Gi", &[]);
        check("3Gi", &["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]);
        check("1Mi", &["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"]);
    }
}
