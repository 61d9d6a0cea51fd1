//! Every namespace has a service account named `default`.

use controller_runtime::{Event, ObjectKey, Requeue, WorkQueue};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;

use crate::scope::{Scope, WORKERS};

const NAME: &str = "default";

pub(super) async fn run(scope: Scope) {
    let queue = WorkQueue::new("serviceaccount");
    Scope::feed(&scope.stores.namespaces, &queue);
    let removed = queue.clone();
    scope.stores.accounts.on_event(move |event| {
        if let Event::Deleted(account) = event
            && account.metadata.name.as_deref() == Some(NAME)
        {
            removed.add(ObjectKey::cluster(account.metadata.namespace.clone().unwrap_or_default()));
        }
    });
    scope.stores.accounts.synced().await;
    let reconciling = scope.clone();
    scope.work(queue, WORKERS, move |key| reconcile(reconciling.clone(), key)).await;
}

async fn reconcile(scope: Scope, namespace: ObjectKey) -> Result<Requeue, kube::Error> {
    let active =
        scope.stores.namespaces.get(&namespace).is_some_and(|namespace| super::namespace::is_active(&namespace));
    if !active || scope.stores.accounts.get(&ObjectKey::new(&namespace.name, NAME)).is_some() {
        return Ok(Requeue::No);
    }
    let account = ServiceAccount {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        ..ServiceAccount::default()
    };
    match scope.api::<ServiceAccount>(&namespace.name).create(&PostParams::default(), &account).await {
        Err(kube::Error::Api(status)) if status.code == 409 || super::namespace::is_terminating(&status) => {
            Ok(Requeue::No)
        }
        outcome => outcome.map(|_| Requeue::No),
    }
}
