//! One RBAC rule: what it allows and whether others cover it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Attributes;

/// A rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyRule {
    /// Verbs; `*` is all.
    pub verbs: Vec<String>,
    /// Groups; `*` is all, the empty text is core.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// Resources; `*` is all with their subresources, `*/scale` is that subresource of all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Names; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths; a `*` at the end matches any rest.
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

impl PolicyRule {
    /// True if the rule allows what is asked.
    pub fn allows(&self, asked: &Attributes<'_>) -> bool {
        if !has(&self.verbs, asked.verb) {
            return false;
        }
        if !asked.is_resource {
            return self.non_resource_urls.iter().any(|pattern| path_matches(pattern, asked.path));
        }
        has(&self.api_groups, asked.group)
            && self.resources.iter().any(|pattern| resource_matches(pattern, asked.resource, asked.subresource))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == asked.name))
    }

    /// The same as rules with one verb, group, resource and name (or path) each.
    pub fn single_rules(&self) -> Vec<Self> {
        let mut singles = Vec::new();
        for verb in &self.verbs {
            let verbs = vec![verb.clone()];
            singles.extend(self.non_resource_urls.iter().map(|path| Self {
                verbs: verbs.clone(),
                non_resource_urls: vec![path.clone()],
                ..Self::default()
            }));
            for group in &self.api_groups {
                for resource in &self.resources {
                    singles.extend(self.single_names().into_iter().map(|resource_names| Self {
                        verbs: verbs.clone(),
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        resource_names,
                        ..Self::default()
                    }));
                }
            }
        }
        singles
    }

    /// Each name alone; if all names are meant, that.
    fn single_names(&self) -> Vec<Vec<String>> {
        if self.resource_names.is_empty() {
            return vec![Vec::new()];
        }
        self.resource_names.iter().map(|name| vec![name.clone()]).collect()
    }

    /// True if this rule alone grants all of a single rule.
    fn covers(&self, single: &Self) -> bool {
        if !covers_all(&self.verbs, &single.verbs) {
            return false;
        }
        if let [path] = single.non_resource_urls.as_slice() {
            return self.non_resource_urls.iter().any(|pattern| path_covers(pattern, path));
        }
        covers_all(&self.api_groups, &single.api_groups)
            && single.resources.iter().all(|wanted| {
                self.resources.iter().any(|held| match wanted.split_once('/') {
                    Some((_, subresource)) => {
                        held == "*" || held == wanted || held.strip_prefix("*/") == Some(subresource)
                    }
                    None => held == "*" || held == wanted,
                })
            })
            && (self.resource_names.is_empty()
                || (!single.resource_names.is_empty()
                    && single.resource_names.iter().all(|name| self.resource_names.contains(name))))
    }
}

/// The single rules among the wanted ones that the held ones do not cover.
pub fn uncovered(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    wanted
        .iter()
        .flat_map(PolicyRule::single_rules)
        .filter(|single| !held.iter().any(|rule| rule.covers(single)))
        .collect()
}

/// As upstream shows rules in messages.
impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.resource_names),
            ("NonResourceURLs", &self.non_resource_urls),
            ("Verbs", &self.verbs),
        ]
        .iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(title, values)| {
            let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
            format!("{title}:[{}]", quoted.join(" "))
        })
        .collect();
        write!(f, "{{{}}}", parts.join(", "))
    }
}

fn has(patterns: &[String], wanted: &str) -> bool {
    patterns.iter().any(|pattern| pattern == "*" || pattern == wanted)
}

fn covers_all(held: &[String], wanted: &[String]) -> bool {
    wanted.iter().all(|value| has(held, value))
}

fn resource_matches(pattern: &str, resource: &str, subresource: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    match pattern.split_once('/') {
        None => subresource.is_empty() && pattern == resource,
        Some((_, wanted)) if wanted != subresource || subresource.is_empty() => false,
        Some((parent, _)) => parent == "*" || parent == resource,
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    pattern == "*" || pattern == path || pattern.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

fn path_covers(held: &str, wanted: &str) -> bool {
    held == wanted || held.strip_suffix('*').is_some_and(|prefix| wanted.starts_with(prefix))
}

#[cfg(test)]
mod tests;
