//! The settings of `ResourceQuota`: what may only be used where a quota covers it.

use api::quota;
use apimachinery::{Object, Value};
use serde::Deserialize;

use super::request::Request;

/// The checked settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configuration {
    limited: Vec<Limited>,
}

/// `ResourceQuotaConfiguration` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct File {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    limited_resources: Vec<Limited>,
}

/// A kind of which some use is limited to what quotas cover.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Limited {
    api_group: String,
    resource: String,
    match_contains: Vec<String>,
    match_scopes: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Condition {
    scope_name: String,
    operator: String,
    values: Vec<String>,
}

impl Condition {
    fn tree(&self) -> Value {
        let values: Value = self.values.iter().map(String::as_str).collect();
        apimachinery::value!({
            "scopeName": (self.scope_name.as_str()), "operator": (self.operator.as_str()), "values": (values),
        })
    }
}

impl TryFrom<File> for Configuration {
    type Error = String;

    fn try_from(file: File) -> Result<Self, String> {
        match file.limited_resources.iter().position(|limited| limited.resource.is_empty()) {
            Some(index) => Err(format!("limitedResources[{index}].resource: Required value")),
            None => Ok(Self { limited: file.limited_resources }),
        }
    }
}

impl Configuration {
    /// True if quotas are not needed for anything.
    pub(super) fn is_empty(&self) -> bool {
        self.limited.is_empty()
    }

    /// Whether quotas cover what may not be used without one.
    ///
    /// # Errors
    /// What is not covered.
    pub(super) fn check_cover(&self, request: &Request<'_>, quotas: &[Object]) -> Result<(), String> {
        let counted = format!("count/{}", request.meter.resource());
        let own = |limited: &&Limited| {
            let dot = if limited.api_group.is_empty() { "" } else { "." };
            counted == format!("count/{}{dot}{}", limited.resource, limited.api_group)
        };
        let limited: Vec<&Limited> = self.limited.iter().filter(own).collect();
        if limited.is_empty() {
            return Ok(());
        }
        let used = request.meter.usage(request.new);
        let needs_cover =
            |name: &str| limited.iter().flat_map(|one| &one.match_contains).any(|part| name.contains(part.as_str()));
        let covered = |name: &str| {
            quotas.iter().any(|quota| {
                quota.map_at(&["status", "hard"]).contains_key(name) && request.matches(quota, request.new)
            })
        };
        let bare: Vec<&str> = used
            .iter()
            .filter(|(name, amount)| !amount.is_zero() && needs_cover(name) && !covered(name))
            .map(|(name, _)| name.as_str())
            .collect();
        if !bare.is_empty() {
            return Err(format!("insufficient quota to consume: {}", bare.join(",")));
        }
        let held = |condition: &Value| quota::holds(request.meter, condition, request.new);
        let granted: Vec<Value> = quotas.iter().flat_map(quota::conditions).filter(held).collect();
        let scopes = limited.iter().flat_map(|one| &one.match_scopes).map(Condition::tree).filter(held);
        let is_granted = |scope: &Value| granted.iter().any(|one| one.str("scopeName") == scope.str("scopeName"));
        let open: Vec<String> = scopes.filter(|scope| !is_granted(scope)).map(|scope| shown(&scope)).collect();
        if open.is_empty() {
            Ok(())
        } else {
            Err(format!("insufficient quota to match these scopes: [{}]", open.join(" ")))
        }
    }
}

fn shown(scope: &Value) -> String {
    let values: Vec<&str> = scope.list("values").iter().filter_map(Value::as_str).collect();
    format!("{{{} {} [{}]}}", scope.str("scopeName"), scope.str("operator"), values.join(" "))
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;
    use api::quota::Meter;

    #[test]
    fn some_pods_need_a_quota_that_covers_them() {
        let file = r#"{"limitedResources": [{"resource": "pods", "matchContains": ["requests.cpu"], "matchScopes": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}]}"#;
        let configuration = Configuration::try_from(serde_json::from_str::<File>(file).unwrap()).unwrap();
        let row = api::resources().iter().find(|row| row.plural == "pods").unwrap();
        let meter = Meter::of(row).unwrap();
        let object = |tree: Value| Object::try_from(tree).unwrap();
        let check = |spec: Value, quotas: &[Object], expected: Result<(), &str>| {
            let new = object(value!({"spec": (spec)}));
            let request = Request { meter: &meter, new: &new, old: None, only_counts: false };
            assert_eq!(
                configuration.check_cover(&request, quotas).as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|e| *e)
            );
        };
        let cpu = || value!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]});
        let quota = object(value!({"status": {"hard": {"requests.cpu": "5"}}}));
        check(value!({"containers": [{"name": "c"}]}), &[], Ok(()));
        check(cpu(), &[], Err("insufficient quota to consume: requests.cpu"));
        check(cpu(), std::slice::from_ref(&quota), Ok(()));
        let high = value!({"priorityClassName": "high"});
        let expected = "insufficient quota to match these scopes: [{PriorityClass In [high]}]";
        check(high.clone(), &[quota], Err(expected));
        let scoped = object(value!({"spec": {"scopes": ["PriorityClass"]}, "status": {"hard": {"pods": "5"}}}));
        check(high, &[scoped], Ok(()));
    }
}
