//! What one write costs one quota, and whether that is still within it. Pure.

use api::quota::{self, Amounts, Meter, amounts};
use apimachinery::quantity::Quantity;
use apimachinery::{Object, Value};

/// A write as quotas look at it.
pub(super) struct Request<'a> {
    pub(super) meter: &'a Meter,
    pub(super) new: &'a Object,
    pub(super) old: Option<&'a Object>,
    /// What a status reports is written down, but never refused.
    pub(super) only_counts: bool,
}

impl Request<'_> {
    /// Whether a quota is about an object of this kind.
    pub(super) fn matches(&self, quota: &Object, object: &Object) -> bool {
        let limits_it = quota.map_at(&["status", "hard"]).keys().any(|name| self.meter.measures(name));
        limits_it && quota::conditions(quota).iter().all(|condition| quota::holds(self.meter, condition, object))
    }

    /// The quota after the write and what it was charged; `None` if the write costs it nothing.
    ///
    /// # Errors
    /// Why the quota does not allow it.
    pub(super) fn charge(&self, quota: &Object) -> Result<Option<(Object, Amounts)>, String> {
        if !self.matches(quota, self.new) {
            return Ok(None);
        }
        let (hard, used) = (amounts(quota.map_at(&["status", "hard"])), amounts(quota.map_at(&["status", "used"])));
        let limited: Vec<String> = hard.keys().filter(|name| self.meter.measures(name)).cloned().collect();
        if let Some(complaint) = self.meter.missing(&limited, self.new) {
            return Err(format!("failed quota: {}: {complaint}", quota.name()));
        }
        if limited.iter().any(|name| !used.contains_key(name)) {
            return Err(format!("status unknown for quota: {}, resources: {}", quota.name(), limited.join(",")));
        }
        let mut cost = self.cost(quota)?;
        cost.retain(|name, amount| hard.contains_key(name) && !amount.is_zero());
        if cost.is_empty() {
            return Ok(None);
        }
        let after = |name: &str| used.get(name).copied().unwrap_or(Quantity::ZERO) + cost[name];
        let exceeded: Vec<&String> = cost.keys().filter(|name| after(name) > hard[*name]).collect();
        if !exceeded.is_empty() && !self.only_counts {
            return Err(format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                quota.name(),
                listed(&exceeded, &cost),
                listed(&exceeded, &used),
                listed(&exceeded, &hard)
            ));
        }
        let mut next = quota.clone();
        for name in cost.keys() {
            next.set_at(&["status", "used", name], after(name).to_string());
        }
        Ok(Some((next, cost)))
    }

    /// What the object uses more than before, if the quota was about it before.
    fn cost(&self, quota: &Object) -> Result<Amounts, String> {
        let mut cost = self.meter.usage(self.new);
        let negative: Vec<&str> =
            cost.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name.as_str()).collect();
        if !negative.is_empty() {
            return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
        }
        if let Some(old) = self.old.filter(|old| self.matches(quota, old)) {
            for (name, amount) in self.meter.usage(old) {
                if let Some(now) = cost.get_mut(&name) {
                    *now = (*now - amount).max(Quantity::ZERO);
                }
            }
        }
        Ok(cost)
    }
}

/// A quota after a charge was given back.
pub(super) fn without(quota: &Object, charged: &Amounts) -> Object {
    let mut next = quota.clone();
    let used = amounts(quota.map_at(&["status", "used"]));
    for (name, amount) in charged {
        if let Some(now) = used.get(name) {
            let left = (*now - *amount).max(Quantity::ZERO);
            next.set_at(&["status", "used", name], Value::from(left.to_string()));
        }
    }
    next
}

fn listed(names: &[&String], amounts: &Amounts) -> String {
    let amount = |name: &&String| amounts.get(*name).copied().unwrap_or(Quantity::ZERO);
    names.iter().map(|name| format!("{name}={}", amount(name))).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    fn object(tree: Value) -> Object {
        Object::try_from(tree).unwrap()
    }

    fn meter(plural: &str) -> Meter {
        Meter::of(api::resources().iter().find(|row| row.plural == plural).unwrap()).unwrap()
    }

    fn quota(hard: Value, used: Value) -> Object {
        object(value!({"metadata": {"name": "q"}, "status": {"hard": (hard), "used": (used)}}))
    }

    fn pod(cpu: &str) -> Object {
        object(value!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}))
    }

    fn check(quota: &Object, plural: &str, (new, old): (&Object, Option<&Object>), expected: Result<&str, &str>) {
        let meter = meter(plural);
        let request = Request { meter: &meter, new, old, only_counts: false };
        let seen = request.charge(quota).map(|charged| {
            charged.map_or_else(|| "nothing".to_owned(), |(next, _)| next.at(&["status", "used"]).unwrap().to_string())
        });
        assert_eq!(seen.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn a_quota_is_used_up() {
        let quota = quota(value!({"requests.cpu": "2", "pods": "5"}), value!({"requests.cpu": "500m", "pods": "1"}));
        check(&quota, "pods", (&pod("1500m"), None), Ok(r#"{"requests.cpu":"2","pods":"2"}"#));
        check(
            &quota,
            "pods",
            (&pod("1600m"), None),
            Err("exceeded quota: q, requested: requests.cpu=1600m, used: requests.cpu=500m, limited: requests.cpu=2"),
        );
        check(&quota, "configmaps", (&object(value!({})), None), Ok("nothing"));
        let silent = object(value!({"spec": {"containers": [{"name": "c"}]}}));
        check(&quota, "pods", (&silent, None), Err("failed quota: q: must specify requests.cpu for: c"));
    }

    #[test]
    fn a_quota_nobody_has_counted_yet_allows_nothing() {
        let unknown = quota(value!({"count/secrets": "2"}), value!({}));
        let secret = object(value!({}));
        check(&unknown, "secrets", (&secret, None), Err("status unknown for quota: q, resources: count/secrets"));
        // Before the controller has seen the quota there are no limits.
        let new = object(value!({"metadata": {"name": "q"}, "spec": {"hard": {"count/secrets": "0"}}}));
        check(&new, "secrets", (&secret, None), Ok("nothing"));
    }

    #[test]
    fn an_update_costs_only_what_it_adds() {
        let quota = quota(value!({"services.nodeports": "2"}), value!({"services.nodeports": "1"}));
        let service = |ports: Value| object(value!({"spec": {"type": "NodePort", "ports": (ports)}}));
        let (one, two, three) = (service(value!([{}])), service(value!([{}, {}])), service(value!([{}, {}, {}])));
        check(&quota, "services", (&two, Some(&one)), Ok(r#"{"services.nodeports":"2"}"#));
        check(&quota, "services", (&one, Some(&two)), Ok("nothing"));
        check(
            &quota,
            "services",
            (&three, Some(&one)),
            Err(
                "exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=1, limited: services.nodeports=2",
            ),
        );
    }

    #[test]
    fn what_was_charged_can_be_given_back() {
        let quota = quota(value!({"pods": "5"}), value!({"pods": "3"}));
        let meter = meter("pods");
        let request = Request { meter: &meter, new: &pod("1"), old: None, only_counts: false };
        let (charged, amounts) = request.charge(&quota).unwrap().unwrap();
        assert_eq!(charged.str_at(&["status", "used", "pods"]), "4");
        assert_eq!(without(&charged, &amounts), quota);
    }
}
