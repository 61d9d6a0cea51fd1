//! A cluster role with an aggregation rule has the rules of all roles it selects.

use std::sync::Arc;

use controller_runtime::{ObjectKey, Requeue, WorkQueue};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::Api;
use kube::api::PostParams;
use kube::core::{Selector, SelectorExt};

use crate::ownership::labels;
use crate::scope::Scope;

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("clusterrole-aggregation");
    let (changed, roles) = (queue.clone(), scope.stores.cluster_roles.clone());
    scope.stores.cluster_roles.on_event(move |event| {
        changed.add(ObjectKey::of(event.object().as_ref()));
        let selecting = roles.list().into_iter().filter(|role| event.states().any(|part| selects(role, part)));
        selecting.for_each(|role| changed.add(ObjectKey::of(role.as_ref())));
    });
    scope.stores.cluster_roles.synced().await;
    let reconciling = scope.clone();
    scope.work(queue, 1, move |key| reconcile(reconciling.clone(), key)).await;
}

fn selects(role: &ClusterRole, part: &ClusterRole) -> bool {
    let selectors = role.aggregation_rule.iter().flat_map(|rule| rule.cluster_role_selectors.iter().flatten());
    let mut selectors = selectors.filter_map(|selector| Selector::try_from(selector.clone()).ok());
    role.metadata.name != part.metadata.name && selectors.any(|selector| selector.matches(labels(part)))
}

async fn reconcile(scope: Scope, key: ObjectKey) -> Result<Requeue, kube::Error> {
    let Some(role) = scope.stores.cluster_roles.get(&key).filter(|role| role.aggregation_rule.is_some()) else {
        return Ok(Requeue::No);
    };
    let rules = aggregated(&role, scope.stores.cluster_roles.list());
    if role.rules.clone().unwrap_or_default() != rules {
        let api: Api<ClusterRole> = Api::all(scope.client.clone());
        let changed = ClusterRole { rules: Some(rules), ..ClusterRole::clone(&role) };
        api.replace(&key.name, &PostParams::default(), &changed).await?;
    }
    Ok(Requeue::No)
}

fn aggregated(role: &ClusterRole, mut all: Vec<Arc<ClusterRole>>) -> Vec<PolicyRule> {
    all.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut rules: Vec<PolicyRule> = Vec::new();
    for rule in all.iter().filter(|part| selects(role, part)).flat_map(|part| part.rules.iter().flatten()) {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_rules_of_selected_roles_are_joined_once_and_in_order() {
        let part = |name: &str, label: &str, verb: &str| {
            let role = json!({"metadata": {"name": name, "labels": {"to": label}}, "rules": [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]});
            Arc::new(serde_json::from_value::<ClusterRole>(role).unwrap())
        };
        let role: ClusterRole = serde_json::from_value(json!({
            "metadata": {"name": "edit"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "edit"}}]},
        }))
        .unwrap();
        let rules = aggregated(
            &role,
            vec![
                part("b", "edit", "get"),
                part("a", "edit", "list"),
                part("c", "edit", "get"),
                part("d", "view", "watch"),
            ],
        );
        assert_eq!(rules.iter().map(|rule| rule.verbs[0].as_str()).collect::<Vec<_>>(), ["list", "get"]);
    }
}
