//! What is audited and how closely: `Policy` of `audit.k8s.io/v1`.

use std::path::Path;

use serde::Deserialize;

use crate::request_info::RequestInfo;
use crate::settings_file::{self, SettingsFileError};
use crate::user::User;

/// How much an event tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Level {
    /// Nothing; there is no event.
    #[default]
    None,
    /// Who, what, when.
    Metadata,
    /// And the body of the request.
    Request,
    /// And the body of the answer.
    RequestResponse,
}

impl Level {
    /// The name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// A moment in the life of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Stage {
    /// It is here and known by whom.
    RequestReceived,
    /// The head of an answer that stays open was sent.
    ResponseStarted,
    /// The answer is complete.
    ResponseComplete,
    /// A handler failed.
    Panic,
}

impl Stage {
    /// The name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// The rules, in order; the first that fits counts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Policy {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: serde_json::Value,
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<Resources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// What the rules say of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) omit: Vec<Stage>,
    pub(super) omit_managed_fields: bool,
}

impl Policy {
    pub(super) fn read(path: &Path) -> Result<Self, SettingsFileError> {
        let policy: Self = settings_file::read(path)?;
        policy.check().map_err(|why| SettingsFileError::invalid(path, why))?;
        Ok(policy)
    }

    fn check(&self) -> Result<(), String> {
        if (self.api_version.as_str(), self.kind.as_str()) != ("audit.k8s.io/v1", "Policy") {
            return Err(format!("{} {} is not known here", self.api_version, self.kind));
        }
        if self.rules.is_empty() {
            return Err("a policy without rules audits nothing; add a rule of level None to mean that".to_owned());
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let of_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
            if of_resources && !rule.non_resource_urls.is_empty() {
                return Err(format!("rules[{index}]: a rule is about resources or about other paths, not both"));
            }
        }
        Ok(())
    }

    pub(super) fn rule(&self, info: &RequestInfo, user: Option<&User>) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.fits(info, user)) else { return Verdict::default() };
        Verdict {
            level: rule.level,
            omit: self.omit_stages.iter().chain(&rule.omit_stages).copied().collect(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn fits(&self, info: &RequestInfo, user: Option<&User>) -> bool {
        let named = |list: &[String], value: &str| list.iter().any(|item| item == value);
        if !self.users.is_empty() && !user.is_some_and(|user| named(&self.users, &user.name)) {
            return false;
        }
        let in_group = |user: &User| self.user_groups.iter().any(|group| user.in_group(group));
        if !self.user_groups.is_empty() && !user.is_some_and(in_group) {
            return false;
        }
        if !self.verbs.is_empty() && !named(&self.verbs, &info.verb) {
            return false;
        }
        if !self.resources.is_empty() || !self.namespaces.is_empty() {
            return info.is_resource
                && (self.namespaces.is_empty() || named(&self.namespaces, &info.namespace))
                && (self.resources.is_empty() || self.resources.iter().any(|resources| resources.fit(info)));
        }
        if !self.non_resource_urls.is_empty() {
            return !info.is_resource && self.non_resource_urls.iter().any(|pattern| path_fits(pattern, &info.path));
        }
        true
    }
}

impl Resources {
    fn fit(&self, info: &RequestInfo) -> bool {
        if self.group != info.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.contains(&info.name) {
            return false;
        }
        let whole = info.full_resource();
        self.resources.iter().any(|pattern| {
            *pattern == whole
                || pattern == "*"
                || pattern.strip_prefix("*/").is_some_and(|sub| !sub.is_empty() && sub == info.subresource)
                || pattern.strip_suffix("/*").is_some_and(|resource| resource == info.resource)
        })
    }
}

fn path_fits(pattern: &str, path: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == path, |start| path.starts_with(start))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: ['system:kube-proxy'], verbs: [watch]}
- {level: None, nonResourceURLs: ['/healthz*', /version]}
- {level: Metadata, resources: [{resources: [secrets, configmaps]}]}
- {level: Request, resources: [{group: apps, resources: ['deployments/*']}], omitStages: [Panic]}
- {level: RequestResponse, resources: [{resources: [pods], resourceNames: [one]}], omitManagedFields: true}
- {level: Metadata, namespaces: [kube-system]}
- {level: Request, userGroups: [auditors]}
";

    #[test]
    fn the_first_rule_that_fits_counts() {
        let policy: Policy = serde_saphyr::from_str(POLICY).unwrap();
        policy.check().unwrap();
        let check = |user: &User, path: &str, expected: Level| {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let verdict = policy.rule(&RequestInfo::parse(&Method::GET, path, query), Some(user));
            assert_eq!(verdict.level, expected, "{path}");
            verdict
        };
        let proxy = User::new("system:kube-proxy", ["system:authenticated"]);
        let auditor = User::new("alice", ["auditors"]);
        check(&proxy, "/api/v1/services?watch=1", Level::None);
        check(&proxy, "/api/v1/services", Level::None);
        check(&auditor, "/api/v1/services", Level::Request);
        check(&auditor, "/healthz/etcd", Level::None);
        check(&auditor, "/version", Level::None);
        check(&auditor, "/versions", Level::Request);
        check(&proxy, "/api/v1/namespaces/a/secrets/s", Level::Metadata);
        check(&proxy, "/apis/apps/v1/namespaces/a/deployments/d/scale", Level::Request);
        check(&proxy, "/apis/apps/v1/namespaces/a/deployments/d", Level::Request);
        check(&proxy, "/api/v1/namespaces/a/pods/two", Level::None);
        check(&proxy, "/api/v1/namespaces/kube-system/pods/two", Level::Metadata);
        let verdict = check(&proxy, "/api/v1/namespaces/a/pods/one", Level::RequestResponse);
        assert_eq!((verdict.omit, verdict.omit_managed_fields), (vec![Stage::RequestReceived], true));
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused() {
        let check = |text: &str, words: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let error = anyhow::Error::from(Policy::read(file.path()).unwrap_err());
            assert!(format!("{error:#}").contains(words), "{error:#}");
        };
        check("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Everything}]", "Everything");
        check("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []", "without rules");
        check("apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]", "not known here");
        let both = "rules: [{level: None, namespaces: [a], nonResourceURLs: [/x]}]";
        check(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{both}"), "not both");
    }
}
