//! Who owns an object: controller references, adoption and release.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::core::{Selector, SelectorExt};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

/// The owner reference that says "controller".
pub(crate) fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object.meta().owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The uid of the controller of an object.
pub(crate) fn controller_uid<K: Resource>(object: &K) -> Option<&str> {
    controller_of(object).map(|owner| owner.uid.as_str())
}

/// The uid of an object, empty if it has none yet.
pub(crate) fn uid<K: Resource>(object: &K) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}

/// Whether an object is being deleted.
pub(crate) fn is_deleting<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// The labels of an object.
pub(crate) fn labels<K: Resource>(object: &K) -> &BTreeMap<String, String> {
    const NONE: &BTreeMap<String, String> = &BTreeMap::new();
    object.meta().labels.as_ref().unwrap_or(NONE)
}

/// A selector as it is used: `None` if it selects nothing on purpose (empty) or cannot be understood.
pub(crate) fn selector(selector: &LabelSelector) -> Option<Selector> {
    let empty = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if empty { None } else { Selector::try_from(selector.clone()).ok() }
}

/// Objects sorted by what a controller has to do with them.
#[derive(Debug, Default)]
pub(crate) struct Claim<K> {
    pub(crate) mine: Vec<Arc<K>>,
    pub(crate) adopt: Vec<Arc<K>>,
    pub(crate) release: Vec<Arc<K>>,
}

/// Sorts owned objects and orphans: an orphan that matches is adopted, an owned one that does not is released. An owner
/// that is being deleted adopts and releases nothing.
pub(crate) fn claim<O: Resource, K: Resource>(
    owner: &O,
    selector: &Selector,
    held: Vec<Arc<K>>,
    orphans: Vec<Arc<K>>,
) -> Claim<K> {
    let fits = |object: &Arc<K>| selector.matches(labels(object.as_ref()));
    let (mine, release): (Vec<_>, Vec<_>) = held.into_iter().partition(fits);
    if is_deleting(owner) {
        return Claim { mine, adopt: Vec::new(), release: Vec::new() };
    }
    let adopt = orphans.into_iter().filter(|object| fits(object) && !is_deleting(object.as_ref())).collect();
    let release = release.into_iter().filter(|object| !is_deleting(object.as_ref())).collect();
    Claim { mine, adopt, release }
}

/// The reference an owner puts into what it makes.
pub(crate) fn reference<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::api_version(&()).into_owned(),
        kind: O::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: uid(owner).to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Carries out a claim; returns all objects that belong to the owner afterwards.
///
/// Before the first adoption the owner is asked for anew, so that a cached owner that was replaced adopts nothing.
pub(crate) async fn settle<O, K>(
    owner: &O,
    owners: &Api<O>,
    objects: &Api<K>,
    claim: Claim<K>,
) -> Result<Vec<Arc<K>>, kube::Error>
where
    O: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let Claim { mut mine, adopt, release } = claim;
    if !adopt.is_empty() {
        let fresh = owners.get(owner.meta().name.as_deref().unwrap_or_default()).await?;
        if uid(&fresh) == uid(owner) && !is_deleting(&fresh) {
            for object in adopt {
                let mut owners = object.meta().owner_references.clone().unwrap_or_default();
                owners.push(reference(owner));
                mine.extend(set_owners(objects, object.as_ref(), &owners).await?.map(Arc::new));
            }
        }
    }
    for object in release {
        let owners: Vec<_> =
            object.meta().owner_references.iter().flatten().filter(|other| other.uid != uid(owner)).cloned().collect();
        set_owners(objects, object.as_ref(), &owners).await?;
    }
    Ok(mine)
}

/// Replaces the owner references, if the object is still the one that was seen.
async fn set_owners<K>(objects: &Api<K>, object: &K, owners: &[OwnerReference]) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let meta = object.meta();
    let patch =
        json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": owners}});
    match objects.patch(meta.name.as_deref().unwrap_or_default(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn pod(name: &str, app: &str, owner: Option<&str>) -> Arc<Pod> {
        let owners: Vec<_> = owner.map(|uid| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": uid, "controller": true})).into_iter().collect();
        Arc::new(
            serde_json::from_value(
                json!({"metadata": {"name": name, "labels": {"app": app}, "ownerReferences": owners}}),
            )
            .unwrap(),
        )
    }

    fn set(deleting: bool) -> ReplicaSet {
        let mut set = ReplicaSet::default();
        set.metadata.uid = Some("one".into());
        if deleting {
            set.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        }
        set
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect()
    }

    fn claimed(deleting: bool) -> Claim<Pod> {
        let wanted = selector(&serde_json::from_value(json!({"matchLabels": {"app": "a"}})).unwrap()).unwrap();
        let owned = vec![pod("kept", "a", Some("one")), pod("strayed", "b", Some("one"))];
        claim(&set(deleting), &wanted, owned, vec![pod("orphan", "a", None), pod("foreign", "b", None)])
    }

    #[test]
    fn matching_orphans_are_adopted_and_strayed_objects_released() {
        let claim = claimed(false);
        assert_eq!(names(&claim.mine), ["kept"]);
        assert_eq!(names(&claim.adopt), ["orphan"]);
        assert_eq!(names(&claim.release), ["strayed"]);
    }

    #[test]
    fn an_owner_that_is_being_deleted_adopts_nothing() {
        let claim = claimed(true);
        assert!(claim.adopt.is_empty() && claim.release.is_empty());
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        assert!(selector(&LabelSelector::default()).is_none());
    }
}
