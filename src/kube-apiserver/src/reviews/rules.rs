//! `SelfSubjectRulesReview`: all that the asking user may do in a namespace.

use apimachinery::value::from_typed;
use apimachinery::{Map, Object, Status, Value};

use crate::authz::Authorizer;
use crate::authz::rules::PolicyRule;
use crate::user::{MASTERS, User};

/// Answers one.
pub fn self_subject(authorizer: &Authorizer, user: &User, mut question: Object) -> Result<Object, Status> {
    let namespace = question.str_at(&["spec", "namespace"]).to_owned();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let mut objects = Vec::new();
    let mut paths = Vec::new();
    let grants = authorizer.rbac.grants(user, &namespace);
    let everything = user.in_group(MASTERS).then(all_rules).unwrap_or_default();
    for rule in everything.iter().chain(grants.iter().flat_map(|grant| grant.rules.iter())) {
        let list = if rule.non_resource_urls.is_empty() { &mut objects } else { &mut paths };
        let value = from_typed(rule).map_err(Status::internal)?;
        if !list.contains(&value) {
            list.push(value);
        }
    }
    let node = user.node_name().is_some();
    let mut status = Map::new();
    status.insert("resourceRules", Value::List(objects));
    status.insert("nonResourceRules", Value::List(paths));
    status.insert("incomplete", node);
    if node {
        status.insert("evaluationError", "node authorizer does not support user rule resolution");
    }
    question.set_at(&["status"], status);
    Ok(question)
}

fn all_rules() -> Vec<PolicyRule> {
    let all = || vec!["*".to_owned()];
    vec![
        PolicyRule { verbs: all(), api_groups: all(), resources: all(), ..PolicyRule::default() },
        PolicyRule { verbs: all(), non_resource_urls: all(), ..PolicyRule::default() },
    ]
}
