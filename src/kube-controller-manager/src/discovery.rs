//! What kinds of objects the server has.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};

/// A resource in the version its group prefers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Discovered {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
}

impl Discovered {
    /// Whether the resource has all of some verbs.
    pub(crate) fn can(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|own| own == verb))
    }

    /// Whether it is one of some, given as group and plural.
    pub(crate) fn is_one_of(&self, kinds: &[(&str, &str)]) -> bool {
        kinds.contains(&(self.resource.group.as_str(), self.resource.plural.as_str()))
    }

    /// The plural and, but for the core, the group: `pods`, `deployments.apps`.
    pub(crate) fn qualified(&self) -> String {
        match self.resource.group.as_str() {
            "" => self.resource.plural.clone(),
            group => format!("{}.{group}", self.resource.plural),
        }
    }

    /// Where it is found: the plural with group and version.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.resource.plural, self.resource.api_version)
    }
}

/// What a server said about its kinds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Discovery {
    pub(crate) kinds: Vec<Arc<Discovered>>,
    /// Group versions that did not answer, with the reason.
    pub(crate) silent: Vec<(String, String)>,
}

impl Discovery {
    /// Whether a group did not answer.
    pub(crate) fn is_silent(&self, group: &str) -> bool {
        self.silent.iter().any(|(version, _)| version.split_once('/').is_some_and(|(own, _)| own == group))
    }

    /// Whether there is a kind, given as `plural.group`.
    pub(crate) fn serves(&self, name: &str) -> bool {
        self.kinds.iter().any(|kind| kind.qualified() == name)
    }
}

/// All resources. A group that does not answer is reported, the others are still returned.
pub(crate) async fn discover(client: &Client) -> Result<Discovery, kube::Error> {
    let core = client.list_core_api_resources("v1").await?;
    let groups = client.list_api_groups().await?.groups;
    let versions: Vec<String> = groups
        .iter()
        .filter_map(|group| group.preferred_version.as_ref().or(group.versions.first()))
        .map(|version| version.group_version.clone())
        .collect();
    let lists = join_all(versions.iter().map(|version| client.list_api_group_resources(version))).await;
    let mut discovery = Discovery { kinds: from_list("v1", core), silent: Vec::new() };
    for (version, list) in versions.iter().zip(lists) {
        match list {
            Ok(list) => discovery.kinds.extend(from_list(version, list)),
            Err(error) => discovery.silent.push((version.clone(), error.to_string())),
        }
    }
    Ok(discovery)
}

fn from_list(group_version: &str, list: APIResourceList) -> Vec<Arc<Discovered>> {
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    let whole = list.resources.into_iter().filter(|resource| !resource.name.contains('/'));
    whole
        .map(|resource| {
            let kind = GroupVersionKind::gvk(group, version, &resource.kind);
            Arc::new(Discovered {
                resource: ApiResource::from_gvk_with_plural(&kind, &resource.name),
                namespaced: resource.namespaced,
                verbs: resource.verbs,
            })
        })
        .collect()
}
