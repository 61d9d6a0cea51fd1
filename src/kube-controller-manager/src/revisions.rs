//! The templates a set has had, as controller revisions that `kubectl rollout` reads.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::Resource;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::ownership::{reference, uid};
use crate::scope::{Scope, gone_is_fine};
use crate::stores::BY_OWNER;
use crate::template;

/// The label with the hash of a template, on revisions and pods.
pub(crate) const HASH: &str = "controller-revision-hash";

/// What a history is kept of.
pub(crate) struct Kept<'a> {
    pub(crate) template: &'a PodTemplateSpec,
    pub(crate) collisions: Option<i32>,
    /// How many old revisions stay.
    pub(crate) limit: Option<i32>,
    /// Hashes of revisions that pods still have.
    pub(crate) in_use: &'a [String],
}

/// Keeps the current template as a revision; returns its hash. Revisions beyond the limit go, oldest first.
pub(crate) async fn keep<O>(scope: &Scope, owner: &O, kept: &Kept<'_>) -> Result<String, kube::Error>
where
    O: Resource<DynamicType = ()>,
{
    let data = json!({"spec": {"template": template_patch(kept.template)}});
    let hash = template::hash(&data, kept.collisions);
    let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
    let api = scope.api::<ControllerRevision>(namespace);
    let history = history(scope, owner);
    let latest = history.last().map_or(0, |revision| revision.revision);
    let name = name_of(owner, &hash);
    match history.iter().find(|revision| revision.metadata.name.as_deref() == Some(name.as_str())) {
        Some(current) if current.revision == latest => {}
        Some(current) => {
            let raised = ControllerRevision { revision: latest + 1, ..ControllerRevision::clone(current) };
            api.replace(&name, &PostParams::default(), &raised).await?;
        }
        None => {
            let mut labels = kept.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
            labels.insert(HASH.to_owned(), hash.clone());
            let metadata = ObjectMeta {
                name: Some(name),
                labels: Some(labels),
                owner_references: Some(vec![reference(owner)]),
                ..ObjectMeta::default()
            };
            let revision = ControllerRevision { metadata, data: Some(RawExtension(data)), revision: latest + 1 };
            match api.create(&PostParams::default(), &revision).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                outcome => drop(outcome?),
            }
        }
    }
    let limit = usize::try_from(kept.limit.unwrap_or(10)).unwrap_or(10) + 1;
    let used = |revision: &ControllerRevision| {
        let name = revision.metadata.name.as_deref();
        kept.in_use.iter().any(|hash| Some(name_of(owner, hash).as_str()) == name)
    };
    for old in history.iter().take(history.len().saturating_sub(limit)).filter(|old| !used(old)) {
        gone_is_fine(api.delete(old.metadata.name.as_deref().unwrap_or_default(), &DeleteParams::default()).await)?;
    }
    Ok(hash)
}

/// The template a hash stands for, if it is still known.
pub(crate) fn template_of<O>(scope: &Scope, owner: &O, hash: &str) -> Option<PodTemplateSpec>
where
    O: Resource<DynamicType = ()>,
{
    let name = name_of(owner, hash);
    let history = history(scope, owner);
    let revision = history.iter().find(|revision| revision.metadata.name.as_deref() == Some(name.as_str()))?;
    serde_json::from_value(revision.data.as_ref()?.0.get("spec")?.get("template")?.clone()).ok()
}

/// The name of a revision.
pub(crate) fn name_of<O: Resource>(owner: &O, hash: &str) -> String {
    format!("{}-{hash}", owner.meta().name.as_deref().unwrap_or_default())
}

fn history<O: Resource>(scope: &Scope, owner: &O) -> Vec<Arc<ControllerRevision>> {
    let mut history = scope.stores.revisions.by_index(BY_OWNER, uid(owner));
    history.sort_by_key(|revision| revision.revision);
    history
}

/// The template as `kubectl rollout undo` applies it: a patch that replaces the whole.
fn template_patch(template: &PodTemplateSpec) -> Value {
    let mut patch = json!(template);
    patch["$patch"] = json!("replace");
    patch
}
