//! The objects as they are used: which requests a flow schema takes, and what a priority level gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use apimachinery::Object;
use serde::Deserialize;

use crate::request_info::RequestInfo;
use crate::user::User;

/// What makes two requests of one schema different flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Distinguisher {
    /// Who asks.
    ByUser,
    /// The namespace asked about.
    ByNamespace,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FlowSpec {
    matching_precedence: i32,
    priority_level_configuration: Named,
    distinguisher_method: Option<Method>,
    rules: Vec<Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    namespace: String,
}

#[derive(Debug, Deserialize)]
struct Method {
    r#type: Distinguisher,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    subjects: Vec<Subject>,
    resource_rules: Vec<ResourceRule>,
    non_resource_rules: Vec<PathRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subject {
    user: Option<Named>,
    group: Option<Named>,
    service_account: Option<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceRule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    cluster_scope: bool,
    namespaces: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PathRule {
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    urls: Vec<String>,
}

/// A flow schema ready to use.
pub(super) struct Schema {
    pub(super) name: Arc<str>,
    pub(super) uid: Arc<str>,
    pub(super) level: Arc<str>,
    pub(super) level_uid: Arc<str>,
    spec: FlowSpec,
}

/// A level with the uid of its object.
pub(super) struct Level {
    uid: Arc<str>,
    pub(super) spec: Spec,
}

/// What a priority level gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Spec {
    r#type: String,
    limited: Limits,
    exempt: Limits,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Limits {
    nominal_concurrency_shares: u32,
    lendable_percent: u32,
    borrowing_limit_percent: Option<u32>,
    limit_response: LimitResponse,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct LimitResponse {
    r#type: String,
    queuing: Option<Queuing>,
}

/// The queues of a level.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Queuing {
    pub(super) queues: usize,
    #[serde(rename = "handSize")]
    pub(super) hand: usize,
    #[serde(rename = "queueLengthLimit")]
    pub(super) length: usize,
}

impl Spec {
    pub(super) fn is_exempt(&self) -> bool {
        self.r#type == "Exempt"
    }

    fn limits(&self) -> &Limits {
        if self.is_exempt() { &self.exempt } else { &self.limited }
    }

    pub(super) fn shares(&self) -> u32 {
        self.limits().nominal_concurrency_shares
    }

    pub(super) fn lendable_percent(&self) -> u32 {
        self.limits().lendable_percent.min(100)
    }

    pub(super) fn borrowing_limit_percent(&self) -> Option<u32> {
        self.limited.borrowing_limit_percent
    }

    /// The queues; none if a request without a seat is sent away at once.
    pub(super) fn queuing(&self) -> Option<&Queuing> {
        let response = &self.limited.limit_response;
        let usable = |queuing: &&Queuing| queuing.queues > 0 && queuing.hand > 0;
        response.queuing.as_ref().filter(|_| response.r#type == "Queue").filter(usable)
    }
}

fn read<T: serde::de::DeserializeOwned>(object: &Object) -> Option<T> {
    let text = serde_json::to_vec(object.at(&["spec"])?).ok()?;
    serde_json::from_slice(&text)
        .inspect_err(
            |error| tracing::warn!(kind = object.kind(), name = object.name(), %error, "an object is left out"),
        )
        .ok()
}

/// The levels of all objects by name.
pub(super) fn levels(objects: &[Object]) -> BTreeMap<Arc<str>, Level> {
    let level =
        |object: &Object| Some((Arc::from(object.name()), Level { uid: object.uid().into(), spec: read(object)? }));
    objects.iter().filter_map(level).collect()
}

impl Schema {
    /// A schema whose level exists.
    pub(super) fn read(object: &Object, levels: &BTreeMap<Arc<str>, Level>) -> Option<Self> {
        let spec: FlowSpec = read(object)?;
        let (level, found) = levels.get_key_value(&*spec.priority_level_configuration.name)?;
        Some(Self {
            name: object.name().into(),
            uid: object.uid().into(),
            level: level.clone(),
            level_uid: found.uid.clone(),
            spec,
        })
    }

    /// The place in the order schemas are tried in.
    pub(super) fn order(&self) -> (i32, &str) {
        (self.spec.matching_precedence, &self.name)
    }

    pub(super) fn distinguisher(&self) -> Option<Distinguisher> {
        self.spec.distinguisher_method.as_ref().map(|method| method.r#type)
    }

    pub(super) fn fits(&self, info: &RequestInfo, user: &User) -> bool {
        self.spec.rules.iter().any(|rule| {
            rule.subjects.iter().any(|subject| subject.is(user))
                && if info.is_resource {
                    rule.resource_rules.iter().any(|rule| rule.fits(info))
                } else {
                    rule.non_resource_rules.iter().any(|rule| rule.fits(info))
                }
        })
    }
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        if let Some(named) = &self.user {
            return named.name == "*" || named.name == user.name;
        }
        if let Some(group) = &self.group {
            return group.name == "*" || user.in_group(&group.name);
        }
        let Some(wanted) = &self.service_account else { return false };
        let account = user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
        account.is_some_and(|(namespace, name)| {
            namespace == wanted.namespace && (wanted.name == "*" || name == wanted.name)
        })
    }
}

fn names(list: &[String], value: &str) -> bool {
    list.iter().any(|item| item == "*" || item == value)
}

impl ResourceRule {
    fn fits(&self, info: &RequestInfo) -> bool {
        let here =
            if info.namespace.is_empty() { self.cluster_scope } else { names(&self.namespaces, &info.namespace) };
        here && names(&self.verbs, &info.verb)
            && names(&self.api_groups, &info.group)
            && names(&self.resources, &info.full_resource())
    }
}

impl PathRule {
    fn fits(&self, info: &RequestInfo) -> bool {
        let path = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => info.path.starts_with(start),
            None => *pattern == info.path,
        };
        names(&self.verbs, &info.verb) && self.urls.iter().any(path)
    }
}
