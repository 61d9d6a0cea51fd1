//! Every namespace has a config map `kube-root-ca.crt`, by which pods trust the API server.

use std::collections::BTreeMap;

use controller_runtime::{ObjectKey, Requeue, WorkQueue};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;

use crate::scope::{Scope, WORKERS};

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
);

pub(super) async fn run(scope: Scope) {
    let Some(bundle) = scope.config.root_ca.clone() else {
        return tracing::info!("no root CA is published: --root-ca-file is not set");
    };
    let queue = WorkQueue::new("root-ca");
    Scope::feed(&scope.stores.namespaces, &queue);
    let changed = queue.clone();
    scope.stores.root_cas.on_event(move |event| {
        changed.add(ObjectKey::cluster(event.object().metadata.namespace.clone().unwrap_or_default()));
    });
    scope.stores.root_cas.synced().await;
    let reconciling = scope.clone();
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), bundle.clone(), key)).await;
}

async fn reconcile(scope: Scope, bundle: String, namespace: ObjectKey) -> Result<Requeue, kube::Error> {
    if !scope.stores.namespaces.get(&namespace).is_some_and(|namespace| super::namespace::is_active(&namespace)) {
        return Ok(Requeue::No);
    }
    let maps = scope.api::<ConfigMap>(&namespace.name);
    let outcome = match plan(scope.stores.root_cas.get(&ObjectKey::new(&namespace.name, NAME)).as_deref(), bundle) {
        Action::Nothing => return Ok(Requeue::No),
        Action::Create(map) => maps.create(&PostParams::default(), &map).await,
        Action::Replace(map) => maps.replace(NAME, &PostParams::default(), &map).await,
    };
    match outcome {
        Err(kube::Error::Api(status)) if super::namespace::is_terminating(&status) => Ok(Requeue::No),
        outcome => outcome.map(|_| Requeue::No),
    }
}

#[derive(Debug, PartialEq)]
enum Action {
    Nothing,
    Create(Box<ConfigMap>),
    Replace(Box<ConfigMap>),
}

fn plan(current: Option<&ConfigMap>, bundle: String) -> Action {
    let data = BTreeMap::from([(KEY.to_owned(), bundle)]);
    match current {
        None => {
            let annotations = BTreeMap::from([(DESCRIPTION.0.to_owned(), DESCRIPTION.1.to_owned())]);
            let metadata =
                ObjectMeta { name: Some(NAME.to_owned()), annotations: Some(annotations), ..ObjectMeta::default() };
            Action::Create(Box::new(ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }))
        }
        Some(map) if map.data.as_ref() == Some(&data) && map.binary_data.is_none() => Action::Nothing,
        Some(map) => Action::Replace(Box::new(ConfigMap {
            metadata: map.metadata.clone(),
            data: Some(data),
            ..ConfigMap::default()
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_map_is_made_and_a_changed_one_put_right() {
        let Action::Create(made) = plan(None, "CA".to_owned()) else { panic!("expected a creation") };
        assert_eq!(plan(Some(&made), "CA".to_owned()), Action::Nothing);
        let Action::Replace(mended) = plan(Some(&made), "NEW".to_owned()) else { panic!("expected a replacement") };
        assert_eq!(mended.data.as_ref().unwrap()[KEY], "NEW");
    }
}
